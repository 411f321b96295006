"""Registers a transceiver and reports its load, its drain and its stop.

It tries to register until that succeeds, reports every 2 s, and registers again if the control
plane does not know it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn, Protocol

import psutil
import structlog

from firsthop_healthchecks.agent.agent import GOODBYE_S, REPORT_S
from firsthop_healthchecks.agent.notices import Notices
from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_net.api_session import ControlPlaneCallError, NotKnownError
from firsthop_steering.feed.reports import TransceiverReport
from firsthop_steering.plan.model import Transceiver
from firsthop_steering.plan.registration import Registration

log = structlog.get_logger("firsthop.transceiver")


class TransceiverIngest(Protocol):
    """The control plane, as needed here; raises ControlPlaneCallError."""

    async def register_transceiver(self, name: str, given: Registration) -> Transceiver: ...

    async def send_transceiver_report(self, name: str, report: TransceiverReport) -> None: ...


class Enrolment:
    """Registers one transceiver and reports for it."""

    def __init__(
        self,
        name: str,
        registration: Registration,
        *,
        control_plane: TransceiverIngest,
        wall: Callable[[], datetime] = utc_now,
        cpu_percent: Callable[[], float] = psutil.cpu_percent,
    ) -> None:
        """`name` is the transceiver's id. The capacity of `registration` is reported as well."""
        self._name = name
        self._registration = registration
        self._control_plane = control_plane
        self._notices = Notices(wall)
        self._cpu_percent = cpu_percent
        self._sessions: Callable[[], int] = lambda: 0
        self._wire_id: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._known = self._begun = False
        cpu_percent()  # psutil measures between calls; the first result means nothing

    async def wire_id(self) -> int:
        """The wire id, once registered; `run` must be running meanwhile."""
        return await asyncio.shield(self._wire_id)

    async def run(self) -> NoReturn:
        """Register and report until cancelled."""
        exchange, changed = self._exchange, self._notices.changed
        await keep_doing(exchange, name="transceiver report", every_s=REPORT_S, wake=changed)

    def begin(self, sessions: Callable[[], int]) -> None:
        """Start to report, as the transceiver takes sessions now; before, it only registers."""
        self._sessions = sessions
        self._begun = True
        self._notices.changed.set()

    def drain(self, draining: bool) -> None:
        """Report that it takes no new sessions, or that it takes them again."""
        self._notices.drain(draining)

    def stop(self, at: datetime) -> None:
        """Report that it drains and stops at `at`."""
        self._notices.stop(at)

    async def end(self, now: datetime) -> None:
        """Report that it has stopped; gives up after 2 s."""
        self._notices.stop(now)
        with contextlib.suppress(ControlPlaneCallError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._report()

    async def _exchange(self) -> None:
        if not self._known:
            await self._register()
        if self._begun:
            await self._report()

    async def _register(self) -> None:
        registered = await self._control_plane.register_transceiver(self._name, self._registration)
        self._known = True
        log.info("transceiver.registered", id=self._name, wire_id=registered.wire_id)
        if registered.wire_id is not None and not self._wire_id.done():
            self._wire_id.set_result(registered.wire_id)

    async def _report(self) -> None:
        report = TransceiverReport(
            **self._notices.stamp(),
            sessions=self._sessions(),
            capacity=self._registration.capacity,
            cpu=min(1.0, max(0.0, self._cpu_percent() / 100)),
        )
        try:
            await self._control_plane.send_transceiver_report(self._name, report)
        except NotKnownError:
            self._known = False
            raise
