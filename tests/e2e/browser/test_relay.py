"""A browser's call through a real relay process, which may die, and a NAT that may forget."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from firsthop_ice.ufrag import claims
from support.allocator_server import BEARER
from support.browsers import page, why_not
from support.calls import RELAY_PORT, RELAY_TCP_PORT, Forwarder, relay, world
from support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.xdist_group("deployment"),
]
OPEN = "([url, headers]) => open_call(url, headers, {audio: true})"


async def test_the_region_in_the_ufrag_is_the_region_that_gets_the_packets(tmp_path: Path) -> None:
    """Two regions behind one relay: a pin decides, and the other hears nothing."""
    async with (
        world(tmp_path, regions=("eu", "us")) as (here, _),
        relay(tmp_path, here.transceivers) as between,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        here.plan([(between.address, RELAY_PORT)])
        eu, us = here.transceivers
        for region, used, unused in (("us", us, eu), ("eu", eu, us)):
            before = (await unused.counts())["packets_received_total"]
            url = f"{here.url}?transceiver_region={region}"
            made = await tab.evaluate(OPEN, [url, BEARER])
            name = claims(made["etag"].strip('"'))
            assert name is not None
            assert name.region == {"eu": 7, "us": 300}[region]
            await tab.evaluate("echo('hello')")
            assert (await tab.evaluate("heard()"))["energy"] > 0
            assert await tab.evaluate("remote_ends()") == [f"{between.address}:{RELAY_PORT}"]
            assert (await used.counts())["packets_passed_on_total"] > 20
            assert await tab.evaluate("hang_up()") == 200
            assert (await unused.counts())["packets_received_total"] == before
        assert (await between.counts())['packets_forwarded_total{to="upstream"}'] > 40


async def test_ice_over_tcp_reaches_the_relay_too(tmp_path: Path) -> None:
    """Where UDP is blocked the same call goes by RFC 6544."""
    async with (
        world(tmp_path) as (here, _),
        relay(tmp_path, here.transceivers) as between,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        here.plan(
            [],
            relays=[
                {
                    "id": "fra-1",
                    "region": "fra",
                    "ipv4": between.address,
                    "udp_port": 9,  # nobody is there
                    "tcp_port": RELAY_TCP_PORT,
                }
            ],
        )
        await tab.evaluate(OPEN, [here.url, BEARER])
        await tab.evaluate("echo('by TCP')")
        assert (await tab.evaluate("heard()"))["energy"] > 0
        ends = await tab.evaluate("remote_ends()")
        assert f"{between.address}:{RELAY_TCP_PORT}" in ends


@pytest.mark.parametrize("journal", [True, False])
async def test_a_killed_relay_is_no_end_of_a_call(tmp_path: Path, journal: bool) -> None:
    """kill -9 and a new process: with its journal media go on at once, by the same upstream port;
    without it the browser's next check makes the flow anew."""
    state = ("--state-dir", str(tmp_path / "relay")) if journal else ()
    async with (
        world(tmp_path) as (here, _),
        relay(tmp_path, here.transceivers, *state) as first,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        here.plan([(first.address, RELAY_PORT)])
        await tab.evaluate(OPEN, [here.url, BEARER])
        await tab.evaluate("heard()")
        await tab.evaluate("watch_gaps()")
        killed = time.monotonic()
        await first.process.kill()
        async with relay(tmp_path, here.transceivers, *state, address=first.address) as second:
            down = time.monotonic() - killed
            gap = await tab.evaluate("largest_gap(50, 15000)")
            await tab.evaluate("echo('after the death')")

            async def as_it_should() -> bool:
                counted = await second.counts()
                restored, opened = counted["flows_restored_total"], counted["flows_opened_total"]
                return restored > 0 if journal else opened > 0 and restored == 0

            await eventually(as_it_should, "the flow was restored, or opened again")
        print(f"audio gap {gap:.2f} s, of which nobody listened for {down:.2f} s")
        assert (await here.transceivers[0].counts())['sessions_total{result="opened"}'] == 1


async def test_an_ice_restart_goes_on_through_the_relay(tmp_path: Path) -> None:
    """No source is held for the former credential, and media do not pause."""
    async with (
        world(tmp_path) as (here, _),
        relay(tmp_path, here.transceivers) as between,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        here.plan([(between.address, RELAY_PORT)])
        await tab.evaluate(OPEN, [here.url, BEARER])
        await tab.evaluate("heard()")
        await tab.evaluate("watch_gaps()")
        await tab.evaluate("restart_ice()")
        await tab.evaluate("echo('after the restart')")

        async def two_credentials() -> bool:
            return (await between.counts())["flows_confirmed_total"] >= 2

        await eventually(two_credentials, "the relay has a flow of the new credential")
        assert await tab.evaluate("largest_gap(50, 15000)") < 1
        assert (await between.counts())["flows_held_total"] == 0


async def test_a_rebound_nat_is_followed_and_leaves_no_flow_behind(tmp_path: Path) -> None:
    """Every packet comes from another port at once; the next check vouches for it."""
    async with (
        world(tmp_path) as (here, _),
        relay(tmp_path, here.transceivers, "--flow-idle", "3") as between,
        Forwarder((between.address, RELAY_PORT), nat=True) as nat,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        here.plan([(nat.address, RELAY_PORT)])
        await tab.evaluate(OPEN, [here.url, BEARER])
        await tab.evaluate("heard()")
        await tab.evaluate("watch_gaps()")
        nat.rebind()
        gap = await tab.evaluate("largest_gap(50, 15000)")
        print(f"audio gap {gap:.2f} s")
        await tab.evaluate("echo('from another port')")

        async def one_flow() -> bool:
            return (await between.counts())["sessions"] == 1

        await eventually(one_flow, "the old flow is gone")
        await tab.evaluate("echo('and still there')")
        assert (await here.transceivers[0].counts())["open_sessions"] == 1


async def test_a_far_relay_with_ipv6_does_not_beat_the_near_one_without(tmp_path: Path) -> None:
    """A browser ranks pairs by its own preference for IPv6 before it looks at our priorities."""
    async with (
        world(tmp_path) as (here, _),
        relay(tmp_path, here.transceivers, "--listen", f"[::1]:{RELAY_PORT}") as between,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        near = {"id": "near", "region": "fra", "ipv4": between.address, "weight": 100}
        far = {"id": "far", "region": "fra", "ipv4": "127.99.99.99", "ipv6": "::1", "weight": 1}
        here.plan([], relays=[near, far])
        made = await tab.evaluate(OPEN, [here.url, BEARER])
        assert [each["id"] for each in made["route"]["relays"]] == ["near", "far"]
        await tab.evaluate("heard()")
        assert await tab.evaluate("selected_end()") == f"{between.address}:{RELAY_PORT}"
