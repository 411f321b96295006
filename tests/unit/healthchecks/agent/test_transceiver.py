"""A transceiver registers until it is known, reports, and registers again when it is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from firsthop_healthchecks.agent.transceiver import Enrolment
from firsthop_net.api_session import ControlPlaneCallError, NotKnownError
from firsthop_steering.feed.reports import TransceiverReport
from firsthop_steering.plan.model import Transceiver
from firsthop_steering.plan.registration import Registration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HERE = Registration.model_validate(
    {"region": "eu", "host": "10.1.0.5", "port": 3479, "capacity": 40}
)


class Registrar:
    """Remembers what it is told; `faults` are raised first."""

    def __init__(self, *faults: ControlPlaneCallError) -> None:
        self.faults = [*faults]
        self.heard: list[Registration | TransceiverReport] = []
        self._news = asyncio.Event()

    async def register_transceiver(self, name: str, given: Registration) -> Transceiver:
        self._take(given)
        fields = given.model_dump() | {"id": name, "wire_id": 17, "registered": True}
        return Transceiver.model_validate(fields)

    async def send_transceiver_report(self, name: str, report: TransceiverReport) -> None:
        self._take(report)

    def _take(self, said: Registration | TransceiverReport) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.heard.append(said)
        self._news.set()

    async def said(self, count: int) -> list[Registration | TransceiverReport]:
        async with asyncio.timeout(120):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return self.heard[:count]


@asynccontextmanager
async def enrolled(plane: Registrar) -> AsyncIterator[Enrolment]:
    enrolment = Enrolment(
        "eu-1", HERE, control_plane=plane, wall=lambda: NOW, cpu_percent=lambda: 250.0
    )
    running = asyncio.create_task(enrolment.run())
    try:
        yield enrolment
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_registers_and_reports_when_it_takes_sessions() -> None:
    """Nothing is reported before; load, capacity and the order are in every report."""
    plane = Registrar(ControlPlaneCallError("away"))
    async with enrolled(plane) as enrolment:
        assert await enrolment.wire_id() == 17
        assert plane.heard == [HERE]
        enrolment.begin(lambda: 3)
        _, report = await plane.said(2)
        assert isinstance(report, TransceiverReport)
        assert (report.sessions, report.capacity, report.cpu) == (3, 40, 1.0)
        assert (report.draining, report.stops_at) == (False, None)
        enrolment.drain(True)
        enrolment.stop(NOW + timedelta(seconds=9))
        later = (await plane.said(3))[2]
        assert isinstance(later, TransceiverReport)
        assert later.sequence > report.sequence
        assert (later.draining, later.stops_at) == (True, NOW + timedelta(seconds=9))


async def test_one_that_is_known_no_more_registers_again() -> None:
    plane = Registrar()
    async with enrolled(plane) as enrolment:
        await enrolment.wire_id()
        plane.faults = [NotKnownError("status 404")]
        enrolment.begin(lambda: 0)
        heard = await plane.said(3)
        assert [type(each) for each in heard] == [Registration, Registration, TransceiverReport]


async def test_its_last_word_is_that_it_is_gone() -> None:
    """Whoever does not hear it is not waited for."""
    plane = Registrar()
    async with enrolled(plane) as enrolment:
        enrolment.begin(lambda: 0)
        await plane.said(2)
    await enrolment.end(NOW)
    last = plane.heard[-1]
    assert isinstance(last, TransceiverReport)
    assert (last.draining, last.stops_at) == (True, NOW)
    plane.faults = [ControlPlaneCallError("away")]
    await enrolment.end(NOW)
