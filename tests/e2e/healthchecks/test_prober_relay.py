"""A real relay, a real prober and a real agent, and a control plane that comes and goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from firsthop_steering.feed.reports import ProbeTargets
from support.standin import (
    TOKEN,
    Process,
    StandIn,
    keyset,
    own_address,
    running,
    stun_target,
    write_route_keys,
)

pytestmark = pytest.mark.e2e


@dataclass
class ProbedRelay:
    """One relay's address and keys, one prober's state, and the control plane of both."""

    control_plane: StandIn
    folder: Path
    address: str

    def relay(self, *arguments: str) -> AbstractAsyncContextManager[Process]:
        return running(
            "relay",
            *arguments,
            FIRSTHOP_RELAY_LISTEN=f"{self.address}:3478",
            FIRSTHOP_ROUTE_KEYS=str(self.folder / "route.keys"),
        )

    def prober(self) -> AbstractAsyncContextManager[Process]:
        return running(
            "prober",
            FIRSTHOP_API_URL=self.control_plane.url,
            FIRSTHOP_TOKEN=TOKEN,
            FIRSTHOP_PROBER_ID="p-1",
            FIRSTHOP_VANTAGE="lab",
            FIRSTHOP_STATE_DIR=str(self.folder / "state"),
        )


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[ProbedRelay]:
    keys, control_plane, address = keyset(), StandIn(), own_address()
    write_route_keys(tmp_path / "route.keys", keys)
    control_plane.targets = ProbeTargets(targets=(stun_target(address, keys),))
    await control_plane.start()
    yield ProbedRelay(control_plane, tmp_path, address)
    await control_plane.stop()


async def test_a_killed_relay_is_down_and_a_restarted_one_up(field: ProbedRelay) -> None:
    """Within the deadline of the test; bench-failover has the figures."""
    async with field.prober() as prober:
        async with field.relay() as relay:
            report = await field.control_plane.until_views(fra_1="up")
            assert (report.prober, report.vantage) == ("p-1", "lab")
            assert report.views[0].duration_ms is not None
            relay.send(signal.SIGKILL)
            report = await field.control_plane.until_views(fra_1="down")
            assert report.views[0].reason == "no answer in 0.5 s"
        async with field.relay():
            await field.control_plane.until_views(fra_1="up")
        prober.send(signal.SIGTERM)
        assert await prober.ended() == 0


async def test_a_relay_with_other_keys_is_down(field: ProbedRelay) -> None:
    """Somebody listens there, but not our relay."""
    write_route_keys(field.folder / "route.keys", keyset())
    async with field.prober(), field.relay():
        await field.control_plane.until_views(fra_1="down")


async def test_probing_goes_on_while_the_control_plane_is_away(field: ProbedRelay) -> None:
    """What happened meanwhile is the first thing it hears."""
    async with field.prober() as prober:
        async with field.relay():
            await field.control_plane.until_views(fra_1="up")
            await field.control_plane.stop()
        await prober.said("view.changed")
        assert '"view": "down"' in prober.log
        await prober.said("controlplane.lost")
        await field.control_plane.start()
        await field.control_plane.until_views(fra_1="down")
        await prober.said("controlplane.reconnected")


async def test_a_prober_restarts_from_its_state_file(field: ProbedRelay) -> None:
    """Killed, and started while nobody hands out targets."""
    async with field.relay():
        async with field.prober() as prober:
            await field.control_plane.until_views(fra_1="up")
            await prober.kill()
        field.control_plane.targets = None
        async with field.prober() as prober:
            await field.control_plane.until_views(fra_1="up")
            assert "targets.loaded" in await prober.said("targets.loaded")


async def test_a_stopped_prober_blames_nobody_when_it_goes_on(field: ProbedRelay) -> None:
    """SIGSTOP for longer than any time-out: the answers lie in its socket, and are read first."""
    async with field.relay(), field.prober() as prober:
        before = await field.control_plane.until_views(fra_1="up")
        prober.send(signal.SIGSTOP)
        await asyncio.to_thread(signal.sigtimedwait, [], 1.2)
        prober.send(signal.SIGCONT)
        after = await field.control_plane.until_views(fra_1="up")
        assert after.views[0].since == before.views[0].since
        assert after.views[0].reason == ""


async def test_an_agent_tells_of_its_relay(field: ProbedRelay) -> None:
    """Load from the relay's own metrics, and a drain as soon as it is signalled."""
    reports = field.control_plane.relay_reports
    metrics = f"{field.address}:9000"
    agent = running(
        "agent",
        FIRSTHOP_API_URL=field.control_plane.url,
        FIRSTHOP_TOKEN=TOKEN,
        FIRSTHOP_RELAY_ID="fra-1",
        FIRSTHOP_RELAY_METRICS_URL=f"http://{metrics}/metrics",
    )
    async with field.relay("--metrics", metrics), field.prober(), agent as beside:
        await field.control_plane.until(
            lambda: any(report.packets_per_second > 0 for _, report in reports), "packets"
        )
        assert {relay for relay, _ in reports} == {"fra-1"}
        sequences = [report.sequence for _, report in reports]
        assert sequences == sorted(set(sequences))
        assert not reports[-1][1].draining
        beside.send(signal.SIGUSR1)
        await field.control_plane.until(lambda: reports[-1][1].draining, "a drain")
        beside.send(signal.SIGUSR2)
        await field.control_plane.until(lambda: not reports[-1][1].draining, "no drain")
        beside.send(signal.SIGINT)
        assert await beside.ended() == 0
