"""Prices that an edge plans for itself while no control plane feeds it.

Its demand is its own answers; its supply is the load that relays report to it
(`firsthop.edge.isolation.relay_loads`); its planner is the leader's (`firsthop_steering.planner`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog

from firsthop.edge.isolation.detector import SILENT_S, IsolationDetector
from firsthop.edge.isolation.relay_loads import INTERVAL_S, LoadWatch
from firsthop.edge.reporting.demand import REPORT_S, DemandBuffer, Totals
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status
from firsthop_steering.planner.demand import Demand
from firsthop_steering.planner.groups import ClientGroups, supply_of
from firsthop_steering.planner.planner import WARM_UP_S, Planner
from firsthop_steering.planner.rounds import Rounds

log = structlog.get_logger(__name__)

LISTEN_S = 2 * INTERVAL_S
"""Delay after the start of isolation: by then every reachable relay has answered."""
REACHED_SHARE = 0.5
"""Share of all capacity: if the relays that answer have less, the last prices stay in force."""
TURN_S = 1.0


@dataclass(frozen=True, slots=True)
class PlanningInputs:
    """The inputs in force at an edge, for the planner; some are None until there is a table."""

    plan: Plan | None
    status: Status | None
    geo: GeoTable | None
    latency: Latency | None
    rtt: RttMap | None
    """The map of the newest table, if one was compiled."""
    received: Prices | None
    """The control plane's last prices."""
    fed: bool
    """Whether a control plane is connected."""


class IsolatedPlanner:
    """Plans one edge's prices while it is isolated; otherwise it only counts its answers."""

    def __init__(
        self,
        buffer: DemandBuffer,
        totals: Callable[[], Totals],
        loads: LoadWatch,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called if the prices change, and when they end."""
        self.prices: Prices | None = None
        """These replace the received prices, unless None."""
        self._buffer = buffer
        self._totals = totals
        self._loads = loads
        self._clock = clock
        self._on_change = on_change
        self._detector = IsolationDetector(clock())
        self._planner = Planner(clock(), warm_up_s=WARM_UP_S)
        self._counted_at = self._isolated_at = clock()
        self._groups: ClientGroups | None = None

    @property
    def isolated(self) -> bool:
        """Whether the edge plans for itself."""
        return self._detector.isolated

    async def run(self, inputs: Callable[[], PlanningInputs]) -> None:
        """Run turns until cancelled."""
        while True:
            try:
                await self.turn(inputs())
            except Exception:
                log.exception("planner.failed")
            await asyncio.sleep(TURN_S)

    async def turn(self, inputs: PlanningInputs) -> None:
        """Count answers, and plan if a round is due."""
        now = self._clock()
        if self._detector.look(fed=inputs.fed, now=now):
            self._change(inputs.received, now)
        if inputs.plan is None or inputs.status is None or inputs.geo is None:
            self._buffer.forget(self._totals())
            return
        groups = await self._group(inputs.plan, inputs.geo, inputs)
        if now - self._counted_at >= REPORT_S:
            self._counted_at = now
            self._count(groups)
        if self.isolated and now - self._isolated_at >= LISTEN_S:
            await self._plan(groups, inputs.status, self.prices or inputs.received)

    async def _group(self, plan: Plan, geo: GeoTable, inputs: PlanningInputs) -> ClientGroups:
        """The client groups of these inputs; kept until they change.

        If the table was already on disk, it gave no RTT map, so one is made.
        """

        def is_current(rtt: RttMap | None) -> bool:
            return (
                rtt is not None
                and rtt.topology.plan is plan
                and rtt.topology.geo is geo
                and rtt.latency is inputs.latency
            )

        def make() -> ClientGroups:
            return ClientGroups.of(RttMap.following(inputs.rtt, plan, geo, inputs.latency))

        before = self._groups
        if before is not None and is_current(before.rtt):
            return before
        self._groups = groups = await asyncio.to_thread(make)
        if before is not None and before.rtt.topology.geo is not geo:
            self._planner.demand = Demand(self._clock())  # the old one counts other cells
        return groups

    def _change(self, received: Prices | None, now: float) -> None:
        self._planner.rounds = Rounds()
        if self.isolated:
            log.warning("edge.isolated", reason=f"no control plane for {SILENT_S:.0f} s")
            self._isolated_at = now
            self._loads.start()
            if received is not None:
                self._planner.rounds.hold(received)
            return
        log.info("edge.rejoined")
        self._loads.stop()
        if self.prices is not None:
            self.prices = None
            self._on_change()

    def _count(self, groups: ClientGroups) -> None:
        answers = self._buffer.due(self._totals())
        if answers:
            now = datetime.now(UTC)
            report = DemandReport(since=now, until=now, answers=answers)
            self._planner.take(report, groups, self._clock())
            self._buffer.reported(answers)

    async def _plan(self, groups: ClientGroups, status: Status, held: Prices | None) -> None:
        sessions = {relay: each.sessions for relay, each in self._loads.loads().items()}
        now = datetime.now(UTC)
        steering = Steering(groups.rtt.topology, status, now, rtt=groups.rtt)
        supply = await asyncio.to_thread(supply_of, steering, sessions)
        # This edge serves only some of all clients, so most relays must have reported their load.
        room = np.where(np.isfinite(supply.capacity), supply.capacity, 0.0)
        if room[np.isfinite(supply.sessions)].sum() < REACHED_SHARE * room.sum():
            return
        if not self._planner.due(steering, supply, self._clock()):
            return
        work = self._planner.round(steering, groups, supply, self._clock)
        if work is None:
            return
        await asyncio.to_thread(work)
        rounds = self._planner.rounds
        if rounds.differs_from(held):
            number, lineage = held.number if held else 0, groups.plan.lineage
            self.prices = rounds.snapshot(number, lineage=lineage, created_at=now)
            log.info("prices.planned", now=self.prices.now)
            self._on_change()
