"""TURN fleets: Debian's coturn is probed, given to clients, and carries a browser's call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from firsthop_healthchecks.probes import Failed, Passed, Unable
from firsthop_healthchecks.probes.turn import TurnProbe
from firsthop_ice.turn import turn_credential, turn_secret
from firsthop_steering.feed.reports import ProbeTarget
from support.allocator_server import BEARER
from support.allocator_world import KEYS, REGIONS, state_of
from support.browsers import page
from support.browsers import why_not as no_browser
from support.calls import RELAY_PORT, world
from support.standin import own_address
from support.turn_server import PORT, turn_server, why_not
from support.waiting import eventually
from support.worlds import status_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

SECRET = turn_secret(KEYS.masters[KEYS.signing])
EXPIRY = datetime.now(UTC) + timedelta(hours=1)
SECRETS = f"use-auth-secret\nstatic-auth-secret={SECRET}\n"


def target(address: str, secret: str = SECRET, **fields: Any) -> ProbeTarget:
    made = turn_credential(secret, expires_at=EXPIRY, name="probe")
    values = {
        "relay": "fra-1",
        "kind": "turn",
        "address": ip_address(address),
        "port": PORT,
        "interval_s": 1,
        "timeout_s": 5,
        "rise": 1,
        "fall": 1,
        "ufrag": made.username,
        "password": made.password,
    }
    return ProbeTarget(**{**values, **fields})


async def test_a_probe_allocates_as_a_client_does(tmp_path: Path) -> None:
    """More often than its quota, as each gives its allocation back; and says why a server fails."""
    probe = TurnProbe()

    async def passes() -> bool:
        outcome = await probe.check(target(server.address))
        # coturn takes up to a second to count an allocation that was given back.
        assert isinstance(outcome, Passed) or "486" in outcome.reason, outcome
        return isinstance(outcome, Passed)

    async with turn_server(tmp_path, SECRETS + "user-quota=2\ntotal-quota=2\n") as server:
        for _ in range(5):
            await eventually(passes, "an allocation")
        refused = await probe.check(target(server.address, turn_secret(b"another" * 5)))
        assert refused == Failed("TURN error 401: it does not take the deployment's secret")
        old = await probe.check(target(server.address, ufrag="1000:probe"))
        assert old == Unable("the probe credential has expired")
        none = await probe.check(target(server.address, ufrag=None))
        assert isinstance(none, Unable)
        await server.kill()
        assert isinstance(await probe.check(target(server.address, timeout_s=0.5)), Failed)
    await probe.close()


@pytest.mark.skipif(bool(no_browser()), reason=no_browser())
@pytest.mark.xdist_group("deployment")
async def test_a_browser_goes_by_the_allocations_turn_server(tmp_path: Path) -> None:
    """With iceTransportPolicy "relay": browser, coturn, relay, transceiver; and a server that is
    found dead is not in the next allocation."""
    async with (
        world(tmp_path, through=True) as (here, relay),
        turn_server(tmp_path, SECRETS) as turn,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        assert relay is not None
        spare = own_address()
        relays = [
            {"id": "fra-1", "region": "fra", "ipv4": relay.address, "udp_port": RELAY_PORT},
            {"id": "fra-turn", "region": "fra", "kind": "turn", "ipv4": turn.address},
            {"id": "iad-turn", "region": "iad", "kind": "turn", "ipv4": spare},
        ]
        plan: dict[str, Any] = {
            "regions": REGIONS[:2],
            "relays": relays,
            "transceivers": [here.transceivers[0].planned()],
        }
        here.allocator.holder.state = state_of(**plan)
        _, allocation, _ = await here.allocator.post({"client_ip": "10.1.1.1"})
        (given,) = allocation["ice_servers"]
        assert [each.split(":")[1] for each in given["urls"]] == [turn.address, spare]
        mine = [each for each in given["urls"] if turn.address in each]
        options = {"policy": "relay", "servers": [{**given, "urls": mine}], "audio": True}
        await tab.evaluate(
            "([url, headers, options]) => open_call(url, headers, options)",
            [here.url, BEARER, options],
        )
        await tab.evaluate("echo('by way of coturn')")
        assert (await tab.evaluate("heard()"))["energy"] > 0
        assert await tab.evaluate("remote_ends()") == [f"{relay.address}:{RELAY_PORT}"]
        assert relay.clients == {turn.address}

        await turn.kill()
        assert isinstance(await TurnProbe().check(target(turn.address, timeout_s=0.5)), Failed)
        here.allocator.holder.state = state_of(status_of(number=8, fra_turn="down"), **plan)
        _, allocation, _ = await here.allocator.post({"client_ip": "10.1.1.1"})
        (given,) = allocation["ice_servers"]
        assert [each.split(":")[1] for each in given["urls"]] == [spare]


@pytest.mark.skipif(bool(no_browser()), reason=no_browser())
@pytest.mark.xdist_group("deployment")
async def test_a_fleet_of_turn_servers_alone_carries_a_call(tmp_path: Path) -> None:
    """No relay of ours in between: coturn sends to the transceiver itself."""
    async with (
        world(tmp_path) as (here, _),
        turn_server(tmp_path, SECRETS) as turn,
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        end = here.transceivers[0]
        here.plan(
            [], relays=[{"id": "fra-turn", "region": "fra", "kind": "turn", "ipv4": turn.address}]
        )
        _, allocation, _ = await here.allocator.post({"client_ip": "10.1.1.1"})
        assert (allocation["relays"], allocation["candidates"]) == ([], [])
        options = {"policy": "relay", "servers": allocation["ice_servers"]}
        await tab.evaluate(
            "([url, headers, options]) => open_call(url, headers, options)",
            [here.url, BEARER, options],
        )
        await tab.evaluate("echo('by way of coturn')")
        assert await tab.evaluate("remote_ends()") == [f"{end.media[0]}:{end.media[1]}"]
        assert await tab.evaluate("local_kinds()") == ["relay"]
        await tab.evaluate("restart_ice()")
        await tab.evaluate("echo('again')")
