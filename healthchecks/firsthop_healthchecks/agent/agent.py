"""The agent beside one relay: reports its load, its drain, its crash and its stop.

It reads the relay's `/metrics` if their URL is given, else the host's counters; the CPU load is
always the host's. An agent that stops reporting never marks its relay down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

import psutil
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout

from firsthop_healthchecks.agent.load import (
    Load,
    LoadReading,
    MetricsError,
    load_between,
    read_metrics,
)
from firsthop_healthchecks.agent.notices import Notices
from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_net.api_session import ControlPlaneCallError
from firsthop_steering.feed.reports import RelayReport

REPORT_S = 2.0
METRICS_TIMEOUT_S = 1.0
GOODBYE_S = 2.0

log = structlog.get_logger("firsthop.agent")


class AgentIngest(Protocol):
    """What an agent needs of the control plane; raises ControlPlaneCallError."""

    async def send_relay_report(self, relay: str, report: RelayReport) -> None: ...


class CounterSource(Protocol):
    """A source of load readings."""

    async def read(self, at: float) -> LoadReading | None:
        """The counters at `at` (monotonic seconds); None if they cannot be read."""
        ...


class HostCounters:
    """All network interfaces of this host."""

    async def read(self, at: float) -> LoadReading | None:
        """Packets and octets received since the host started."""
        network = psutil.net_io_counters()
        return LoadReading(at, network.packets_recv, network.bytes_recv, network.dropin)


class RelayCounters:
    """A relay's `/metrics`."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self._url = url
        self._session = session
        self._timeout = ClientTimeout(total=METRICS_TIMEOUT_S)
        self._lost = False

    async def read(self, at: float) -> LoadReading | None:
        """The relay's counters; None while it does not answer, which is logged once."""
        try:
            async with self._session.get(self._url, timeout=self._timeout) as response:
                response.raise_for_status()
                reading = read_metrics(await response.text(), at)
        except (ClientError, OSError, TimeoutError, MetricsError, UnicodeDecodeError) as error:
            if not self._lost:
                log.warning("relay_metrics.lost", url=self._url, reason=str(error))
            self._lost = True
            return None
        self._lost = False
        return reading


class Agent:
    """Reports of one relay."""

    def __init__(
        self,
        relay: str,
        *,
        control_plane: AgentIngest,
        counters: CounterSource,
        draining: bool = False,
        wall: Callable[[], datetime] = utc_now,
        cpu_percent: Callable[[], float] = psutil.cpu_percent,
    ) -> None:
        """`relay` is the relay's id; `draining` applies from the first report on."""
        self._relay = relay
        self._control_plane = control_plane
        self._counters = counters
        self._notices = Notices(wall, draining=draining)
        self._crashed = False
        self._wall = wall
        self._cpu_percent = cpu_percent
        self._before: LoadReading | None = None
        cpu_percent()  # psutil measures between calls; the first result means nothing

    async def run(self) -> NoReturn:
        """Report until cancelled: every 2 s, and at once when draining or the process changes."""
        changed = self._notices.changed
        await keep_doing(self._report, name="relay report", every_s=REPORT_S, wake=changed)

    def drain(self, draining: bool) -> None:
        """Report that the relay takes no new sessions, or that it takes them again."""
        if self._notices.drain(draining):
            log.info("agent.draining" if draining else "agent.accepting", relay=self._relay)

    def found(self, there: bool) -> None:
        """Report whether the relay's process exists; see `Presence`."""
        if there == self._crashed:
            self._crashed = not there
            self._notices.changed.set()

    async def stop(self, grace_s: float) -> None:
        """Announce that the relay stops in `grace_s` seconds; gives up after 2 s."""
        stops_at = self._wall() + timedelta(seconds=grace_s)
        self._notices.stop(stops_at)
        with contextlib.suppress(ControlPlaneCallError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._report()
                log.info("stop.announced", relay=self._relay, stops_at=stops_at.isoformat())

    async def _report(self) -> None:
        await self._control_plane.send_relay_report(self._relay, await self.report())

    async def report(self) -> RelayReport:
        """The load since the previous report, and the notices."""
        reading = await self._counters.read(asyncio.get_running_loop().time())
        load = Load() if reading is None else load_between(self._before, reading)
        self._before = reading
        return RelayReport(
            **self._notices.stamp(),
            sessions=0 if reading is None else reading.sessions,
            packets_per_second=load.packets,
            bits_per_second=load.bits,
            cpu=min(1.0, max(0.0, self._cpu_percent() / 100)),
            drops_per_second=load.dropped,
            crashed=self._crashed,
        )
