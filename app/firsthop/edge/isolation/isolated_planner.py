"""Prices of an edge that no control plane feeds: it plans for itself what the leader would plan.

It knows its own answers, and asks relays what they carry (`firsthop.edge.isolation.relay_loads`);
the planner is the leader's (`firsthop_steering.planner`). Begun when the feed has been silent for a
while, and ended when it has been back for so long that a new leader can have planned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog

from firsthop.edge.isolation.relay_loads import INTERVAL_S, LoadWatch
from firsthop.edge.reporting.demand import REPORT_S, DemandBoard, Totals
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status
from firsthop_steering.planner.demand import Demand
from firsthop_steering.planner.groups import ClientGroups, supply_of
from firsthop_steering.planner.planner import PLAN_S, WARM_UP_S, Planner
from firsthop_steering.planner.rounds import Rounds

log = structlog.get_logger(__name__)

SILENT_S = 60.0
"""Replicas hand over in seconds; whoever has heard none for so long is alone, and DNS answers are
called stale."""
RETURNED_S = WARM_UP_S + 2 * PLAN_S
"""A leader that is new as well plans after so long. Its prices hold from then on."""
LISTEN_S = 2 * INTERVAL_S
"""By then every relay that can be heard has been."""
HEARD_SHARE = 0.5
"""Of all capacity: where less is heard of, the last prices hold."""
LOOK_S = 1.0


class IsolationDetector:
    """Whether an edge is alone, by whether it is fed; seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self.alone = False
        self._since = now
        """When what is said now differed last from what is held: fed, or not."""

    def look(self, *, fed: bool, now: float) -> bool:
        """Whether that changes it."""
        if fed != self.alone:  # fed and not alone, or neither: nothing is amiss
            self._since = now
        elif now - self._since >= (RETURNED_S if self.alone else SILENT_S):
            self.alone, self._since = not self.alone, now
            return True
        return False


@dataclass(frozen=True, slots=True)
class PlanningInputs:
    """What there is to plan by: what is answered by, once there is a table."""

    plan: Plan | None
    status: Status | None
    geo: GeoTable | None
    latency: Latency | None
    rtt: RttMap | None
    """Of these, if a table was compiled by it."""
    received: Prices | None
    """The control plane's last."""
    fed: bool
    """Whether a control plane is connected."""


class IsolatedPlanner:
    """What one edge plans while it is alone; at other times it only counts its answers."""

    def __init__(
        self,
        board: DemandBoard,
        totals: Callable[[], Totals],
        loads: LoadWatch,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called when there are other prices, or none any more."""
        self.prices: Prices | None = None
        """In force instead of what was received; None: what was received holds."""
        self._board = board
        self._totals = totals
        self._loads = loads
        self._clock = clock
        self._on_change = on_change
        self._solitude = IsolationDetector(clock())
        self._planner = Planner(clock(), warm_up_s=WARM_UP_S)
        self._counted_at = self._alone_at = clock()
        self._client_groups: ClientGroups | None = None

    @property
    def alone(self) -> bool:
        """Whether it plans for itself."""
        return self._solitude.alone

    async def run(self, seen: Callable[[], PlanningInputs]) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn(seen())
            except Exception:
                log.exception("planner.failed")
            await asyncio.sleep(LOOK_S)

    async def turn(self, seen: PlanningInputs) -> None:
        """Counts, and plans if a round is due."""
        now = self._clock()
        if self._solitude.look(fed=seen.fed, now=now):
            self._change(seen.received, now)
        if seen.plan is None or seen.status is None or seen.geo is None:
            self._board.forget(self._totals())
            return
        client_groups = await self._chart(seen.plan, seen.geo, seen)
        if now - self._counted_at >= REPORT_S:
            self._counted_at = now
            self._count(client_groups)
        if self.alone and now - self._alone_at >= LISTEN_S:
            await self._plan(client_groups, seen.status, self.prices or seen.received)

    async def _chart(self, plan: Plan, geo: GeoTable, seen: PlanningInputs) -> ClientGroups:
        """The last one is kept; a table that was found on disk left no map behind."""

        def is_seen(rtt: RttMap | None) -> bool:
            return (
                rtt is not None
                and rtt.topology.plan is plan
                and rtt.topology.geo is geo
                and rtt.latency is seen.latency
            )

        def make() -> ClientGroups:
            return ClientGroups.of(RttMap.following(seen.rtt, plan, geo, seen.latency))

        before = self._client_groups
        if before is not None and is_seen(before.rtt):
            return before
        self._client_groups = client_groups = await asyncio.to_thread(make)
        if before is not None and before.rtt.topology.geo is not geo:
            self._planner.demand = Demand(self._clock())  # it was of other cells
        return client_groups

    def _change(self, received: Prices | None, now: float) -> None:
        self._planner.rounds = Rounds()
        if self.alone:
            log.warning("edge.isolated", reason=f"no control plane for {SILENT_S:.0f} s")
            self._alone_at = now
            self._loads.start()
            if received is not None:
                self._planner.rounds.hold(received)
            return
        log.info("edge.rejoined")
        self._loads.stop()
        if self.prices is not None:
            self.prices = None
            self._on_change()

    def _count(self, client_groups: ClientGroups) -> None:
        answers = self._board.due(self._totals())
        if answers:
            now = datetime.now(UTC)
            report = DemandReport(since=now, until=now, answers=answers)
            self._planner.take(report, client_groups, self._clock())
            self._board.told(answers)

    async def _plan(self, client_groups: ClientGroups, status: Status, held: Prices | None) -> None:
        heard = {relay: each.sessions for relay, each in self._loads.loads().items()}
        # It answers only some of all clients: without what relays say their number says nothing.
        now = datetime.now(UTC)
        steering = Steering(client_groups.rtt.topology, status, now, rtt=client_groups.rtt)
        supply = await asyncio.to_thread(supply_of, steering, heard)
        room = np.where(np.isfinite(supply.capacity), supply.capacity, 0.0)
        if room[np.isfinite(supply.sessions)].sum() < HEARD_SHARE * room.sum():
            return
        if not self._planner.due(steering, supply, self._clock()):
            return
        work = self._planner.round(steering, client_groups, supply, self._clock)
        if work is None:
            return
        await asyncio.to_thread(work)
        rounds = self._planner.rounds
        if rounds.differs_from(held):
            number, lineage = held.number if held else 0, client_groups.plan.lineage
            self.prices = rounds.snapshot(number, lineage=lineage, created_at=now)
            log.info("prices.planned", now=self.prices.now)
            self._on_change()
