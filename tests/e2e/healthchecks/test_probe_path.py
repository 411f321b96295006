"""A probe through a real relay to a transceiver region and back."""

from __future__ import annotations

import secrets
import signal
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome
from firsthop_healthchecks.probes.kinds import probes_by_kind
from firsthop_ice.ufrag import mint_path_credential
from firsthop_steering.feed.reports import ProbeTarget
from firsthop_steering.feed.snapshot import KeySet
from support.media import REGION, far_end, write_routes
from support.relays import site
from support.standin import keyset, stun_target

pytestmark = pytest.mark.e2e


def path_target(address: str, keys: KeySet, **changes: Any) -> ProbeTarget:
    """The relay at `address`, and REGION behind it."""
    credential = mint_path_credential(
        keys, region=REGION, holder=secrets.token_hex(4), now=datetime.now(UTC)
    )
    fields: dict[str, Any] = {
        "relay": "fra-1",
        "kind": "path",
        "transceiver_region": "eu",
        "address": ip_address(address),
        "port": 3478,
        "interval_s": 0.2,
        "timeout_s": 5,
        "rise": 2,
        "fall": 3,
        "ufrag": credential.ufrag,
        "password": credential.password,
    }
    return ProbeTarget(**fields | changes)


async def checked(target: ProbeTarget) -> ProbeOutcome:
    probe = probes_by_kind()[target.kind]
    try:
        return await probe.check(target)
    finally:
        await probe.close()


async def test_the_whole_path_answers(tmp_path: Path) -> None:
    """Again and again by one flow; the far end proves that it holds its region's key."""
    async with site(tmp_path) as there:
        probe = probes_by_kind()["path"]
        target = path_target(there.address[0], there.keys)
        for _ in range(5):
            outcome = await probe.check(target)
            assert isinstance(outcome, Passed)
            assert outcome.duration_ms > 0
        assert len(there.far.sources) == 1
        assert (await there.counted())["flows_opened_total"] == 1
        await probe.close()


async def test_a_live_relay_before_a_dead_region_fails(tmp_path: Path) -> None:
    """What a stun probe cannot see: the relay answers, the path does not."""
    async with site(tmp_path) as there:
        there.far.close()
        outcome = await checked(path_target(there.address[0], there.keys, timeout_s=0.3))
        assert isinstance(outcome, Failed)
        stun = stun_target(there.address[0], there.keys, timeout_s=5)
        assert isinstance(await checked(stun), Passed)


async def test_a_relay_without_a_route_fails(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        write_routes(there.routes)
        there.relay.send(signal.SIGHUP)
        await there.relay.said("routes.loaded")
        outcome = await checked(path_target(there.address[0], there.keys, timeout_s=0.3))
        assert isinstance(outcome, Failed)
        assert not there.far.sources


async def test_a_far_end_with_another_key_fails(tmp_path: Path) -> None:
    """Somebody answers, but not who should."""
    async with site(tmp_path) as there, far_end(keyset()) as impostor:
        write_routes(there.routes, impostor)
        there.relay.send(signal.SIGHUP)
        await there.relay.said("routes.loaded")
        outcome = await checked(path_target(there.address[0], there.keys, timeout_s=0.3))
        assert isinstance(outcome, Failed)
        assert impostor.sources
