"""What an agent says of its relay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from firsthop_healthchecks.agent.agent import Agent, HostCounters
from firsthop_healthchecks.agent.load import LoadReading
from firsthop_net.api_session import ControlPlaneCallError
from firsthop_steering.feed.reports import RelayReport

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class LoadTaker:
    """A control plane that listens, and counters that are told."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[str, RelayReport]] = asyncio.Queue()
        self.readings = [
            LoadReading(1.0, 0, 0, 0, 3),
            LoadReading(3.0, 200, 2000, 4, 5),
            None,
            LoadReading(9.0, 900, 9000, 9, 6),
        ]

    async def read(self, at: float) -> LoadReading | None:
        return self.readings.pop(0) if self.readings else None

    async def send_relay_report(self, relay: str, report: RelayReport) -> None:
        await self.reports.put((relay, report))


def agent(world: LoadTaker, *, draining: bool = False, cpu: float = 25.0) -> Agent:
    return Agent(
        "fra-1",
        control_plane=world,
        counters=world,
        draining=draining,
        wall=lambda: NOW,
        cpu_percent=lambda: cpu,
    )


async def test_reports_carry_rates_and_rise() -> None:
    """The sequence starts from the clock, so that a restarted agent is not taken for a replay."""
    beside = agent(LoadTaker())
    reports = [await beside.report() for _ in range(4)]
    assert [report.packets_per_second for report in reports] == [0, 100, 0, 0]
    assert [report.bits_per_second for report in reports] == [0, 8000, 0, 0]
    assert [report.drops_per_second for report in reports] == [0, 2, 0, 0]
    assert [report.sessions for report in reports] == [3, 5, 0, 6]
    first = int(NOW.timestamp() * 1000) + 1
    assert [report.sequence for report in reports] == list(range(first, first + 4))
    assert {report.cpu for report in reports} == {0.25}
    assert {report.sent_at for report in reports} == {NOW}


async def test_a_strange_processor_load_stays_within_its_bounds() -> None:
    assert (await agent(LoadTaker(), cpu=250.0).report()).cpu == 1.0
    assert (await agent(LoadTaker(), cpu=-1.0).report()).cpu == 0.0


async def test_a_drain_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the next report; and once, however often it is asked for."""
    monkeypatch.setattr("firsthop_healthchecks.agent.agent.REPORT_S", 3600.0)
    world = LoadTaker()
    beside = agent(world)
    running = asyncio.create_task(beside.run())
    async with asyncio.timeout(60):
        relay, report = await world.reports.get()
        assert (relay, report.draining) == ("fra-1", False)
        beside.drain(True)
        beside.drain(True)
        assert (await world.reports.get())[1].draining
        beside.drain(False)
        assert not (await world.reports.get())[1].draining
    running.cancel()
    assert world.reports.empty()


async def test_a_relay_that_is_gone_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however often it is looked for; and that it is back."""
    monkeypatch.setattr("firsthop_healthchecks.agent.agent.REPORT_S", 3600.0)
    world = LoadTaker()
    beside = agent(world)
    running = asyncio.create_task(beside.run())
    async with asyncio.timeout(60):
        assert not (await world.reports.get())[1].crashed
        for there in (False, True):
            beside.found(there)
            assert (await world.reports.get())[1].crashed is not there
            beside.found(there)
        running.cancel()
    assert world.reports.empty()


async def test_a_stop_is_announced_with_its_time() -> None:
    """No new sessions from now on."""
    world = LoadTaker()
    await agent(world).stop(30.0)
    _, report = await world.reports.get()
    assert report.draining
    assert report.stops_at == NOW + timedelta(seconds=30)


async def test_a_stop_that_nobody_hears_is_no_fault() -> None:
    """The agent ends all the same."""

    class Away(LoadTaker):
        async def send_relay_report(self, relay: str, report: RelayReport) -> None:
            raise ControlPlaneCallError("away")

    await agent(Away()).stop(0.0)


async def test_an_agent_may_start_draining() -> None:
    assert (await agent(LoadTaker(), draining=True).report()).draining


async def test_the_hosts_counters_are_a_reading() -> None:
    first = await HostCounters().read(1.0)
    assert first is not None
    assert first.at == 1.0
    assert min(first.packets, first.bytes, first.dropped) >= 0
