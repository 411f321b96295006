"""A browser's call between network namespaces: with loopback alone, and from behind a NAT."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from field.namespaces import Switch, nothing_but_loopback, why_not
from firsthop_ice.ufrag import claims
from support import browsers
from support.allocator_server import BEARER
from support.browsers import page
from support.calls import RELAY_PORT, relay, world
from support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(browsers.why_not()), reason=browsers.why_not()),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.xdist_group("deployment"),
]
OPEN = "([url, headers]) => open_call(url, headers, {audio: true})"


async def test_a_call_needs_nothing_but_loopback(tmp_path: Path) -> None:
    """As by `unshare -n`: data and audio come back by the relay, and there is no other way."""
    with nothing_but_loopback():
        async with (
            world(tmp_path) as (here, _),
            relay(tmp_path, here.transceivers) as between,
            page(f"{here.allocator.url}/healthz") as tab,
        ):
            here.plan([(between.address, RELAY_PORT)])
            made = await tab.evaluate(OPEN, [here.url, BEARER])
            name = claims(made["etag"].strip('"'))
            assert name is not None
            assert name.region == 7
            await tab.evaluate("echo('hello')")
            assert (await tab.evaluate("heard()"))["energy"] > 0
            assert await tab.evaluate("remote_ends()") == [f"{between.address}:{RELAY_PORT}"]
            assert (await between.counts())['packets_forwarded_total{to="upstream"}'] > 20


async def test_a_nat_that_forgets_is_followed_by_the_next_check(tmp_path: Path) -> None:
    """The relay sees the client at another port; nothing is signalled, and one flow is left."""
    with ExitStack() as stack:
        internet, home = stack.enter_context(Switch()), stack.enter_context(Switch())
        site, nat = internet.place("site", "10.77.0.1"), internet.place("nat", "10.77.0.2")
        client = home.place("client", "10.88.0.2")
        nat.translate(home, "10.88.0.1")
        client.leave_by("10.88.0.1")
        stack.enter_context(site.entered())
        async with (
            world(tmp_path, host=site.address) as (here, _),
            relay(tmp_path, here.transceivers, "--flow-idle", "6", address=site.address) as between,
        ):
            here.plan([(between.address, RELAY_PORT)])
            base = f"http://{site.address}:{here.allocator.port}"
            safe = f"--unsafely-treat-insecure-origin-as-secure={base}"
            async with page(f"{base}/healthz", safe, where=client.entered()) as tab:
                await tab.evaluate(OPEN, [f"{base}/v1/sessions", BEARER])
                await tab.evaluate("heard()")
                await tab.evaluate("watch_gaps()")
                before = await between.counts()
                nat.rebind()
                gap = await tab.evaluate("largest_gap(50, 20000)")
                print(f"audio gap {gap:.2f} s")
                await tab.evaluate("echo('from another port')")
                after = await between.counts()
                assert after["flows_confirmed_total"] == before["flows_confirmed_total"] + 1

                async def one_flow() -> bool:
                    counted = await between.counts()
                    return counted['flows{state="confirmed"}'] == 1

                await eventually(one_flow, "the old flow is gone")
                await tab.evaluate("echo('and still there')")
                ended = await between.counts()
                assert (ended["sessions"], ended['flows{state="unconfirmed"}']) == (1, 0)
                counted = await here.transceivers[0].counts()
                assert counted["open_sessions"] == 1
                assert counted['sessions_total{result="opened"}'] == 1
                assert counted.get('sessions_total{result="restarted"}', 0) == 0
