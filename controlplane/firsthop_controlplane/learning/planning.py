"""The leader's planning: every ten seconds, sooner if a region is full or lost, or the plan new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.health.health_state import Clock
from firsthop_controlplane.history.guidance_log import GuidanceLog
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.store.engine import unavailable
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.feed.snapshot import Plan, Prices, supersedes
from firsthop_steering.planner.groups import ClientGroups, Wanted, supply_of, wanted_of
from firsthop_steering.planner.planner import PLAN_S, WARM_UP_S, Planner

log = structlog.get_logger(__name__)
LOOK_S = 0.5
"""How late a lost region is seen; edges have prices ready for it."""


class PlannerLoop:
    """One replica's; does nothing while another leads."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        geo: GeoTable | None,
        *,
        now: Clock,
        clock: Callable[[], float],
        kept: timedelta,
        plan_s: float = PLAN_S,
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        """`now` is the time of day and `clock` is monotonic, in seconds. Without geo data nothing
        is planned. What was published is forgotten when it is older than `kept`."""
        self.history = GuidanceLog(engine, Prices, now=now, kept=kept)
        """What was published."""
        self._feed = feed
        self._geo = geo
        self._now = now
        self._clock = clock
        self._plan_s = plan_s
        self._warm_up_s = warm_up_s
        self.may_publish: Callable[[], bool] = lambda: False
        """Whether this replica leads, and is sure of it."""
        self._term = 0
        self._number = 0
        self._begun = False
        self.planner = Planner(clock(), warm_up_s=warm_up_s)
        self.published: Prices | None = None
        self._client_groups: ClientGroups | None = None

    def lead(self, term: int) -> None:
        """Begin a term: demand is to be heard anew, the prices in force are read by `run`."""
        self._term, self._number, self._begun = term, first_number(term), False
        self.planner = Planner(self._clock(), warm_up_s=self._warm_up_s)

    async def take(self, report: DemandReport) -> None:
        """What one edge answered. Services that the plan does not know want nothing."""
        plan = self._feed.plan
        if plan is not None and self._geo is not None:
            self.planner.take(report, await self._chart(plan, self._geo), self._clock())

    def wanted(self) -> Wanted:
        """Where clients are, as far as this leader has heard."""
        return wanted_of(self.planner.demand.clients(self._clock()))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception as error:
                if not unavailable(error):
                    log.exception("planner.failed")
            await asyncio.sleep(LOOK_S)

    async def turn(self) -> None:
        """A round, if one is due."""
        plan, status = self._feed.plan, self._feed.status
        if not self.may_publish() or plan is None or status is None or self._geo is None:
            return
        if not self._begun:
            await self._begin(plan)
            if not self._begun:
                return
        client_groups = await self._chart(plan, self._geo)
        steering = Steering(client_groups.rtt.topology, status, self._now(), rtt=client_groups.rtt)
        supply = await asyncio.to_thread(supply_of, steering)
        planner = self.planner
        if not planner.due(steering, supply, self._clock(), self._plan_s):
            return
        work = planner.round(steering, client_groups, supply, self._clock)
        if work is None:
            return
        await asyncio.to_thread(work)
        is_ours = planner is self.planner and self.may_publish()
        if is_ours and planner.rounds.differs_from(self.published):
            await self._publish(plan)

    async def _begin(self, plan: Plan) -> None:
        """The prices that the leader before left hold until there is reason for others."""
        term, received = self._term, self._feed.guidance.within(plan.lineage).prices
        prices = await self.history.begin(received)
        if term != self._term:
            return
        if prices is not None and supersedes(prices, self._feed.present("prices")):
            self._feed.publish(prices)
        self.published = prices
        if prices is not None:
            self.planner.rounds.hold(prices)
        self._begun = True

    async def _chart(self, plan: Plan, geo: GeoTable) -> ClientGroups:
        """What edges go by, and where groups are in it; the last one is kept."""
        latency, chart = self._feed.guidance.within(plan.lineage).latency, self._client_groups
        is_same = chart is not None and chart.rtt.topology.plan is plan
        if chart is not None and is_same and chart.rtt.latency is latency:
            return chart

        def make() -> ClientGroups:
            former = chart.rtt if chart is not None else None
            return ClientGroups.of(RttMap.following(former, plan, geo, latency))

        self._client_groups = chart = await asyncio.to_thread(make)
        return chart

    async def _publish(self, plan: Plan) -> None:
        self._number += 1
        rounds, now = self.planner.rounds, self._now()
        self.published = rounds.snapshot(self._number, lineage=plan.lineage, created_at=now)
        self._feed.publish(self.published)
        log.info("prices.published", number=self._number, now=self.published.now)
        await self.history.note(self.published)
