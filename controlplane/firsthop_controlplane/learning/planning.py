"""The leader's loop over demand: plans prices every ten seconds, or at once if there is a cause.

Causes are a region that is full or lost, and a new plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.history.guidance_log import GuidanceLog
from firsthop_controlplane.leader.publisher import Publisher
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.store.engine import unavailable
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.feed.snapshot import Plan, Prices
from firsthop_steering.planner.groups import ClientGroups, Wanted, supply_of, wanted_of
from firsthop_steering.planner.planner import PLAN_S, WARM_UP_S, Planner

log = structlog.get_logger(__name__)
LOOK_S = 0.5
"""Seconds between two checks for a cause; edges already have prices for each lost region."""


class PlannerLoop:
    """The loop of one replica; idle while another leads."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        geo: GeoTable | None,
        leadership: ReplicaLeadership,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        kept: timedelta,
        is_valid: Callable[[str, datetime], bool],
        plan_s: float = PLAN_S,
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        """`now` is the time of day; `clock` is monotonic, in seconds. Without geo data nothing is
        planned. The history of publications is kept for `kept`. `is_valid` says whether the token
        with an id is valid at a time."""
        self._is_valid = is_valid
        self.history = GuidanceLog(engine, Prices, now=now, kept=kept)
        """The log of published prices."""
        self._feed = feed
        self._publisher = Publisher(feed, leadership)
        self._geo = geo
        self._now = now
        self._clock = clock
        self._plan_s = plan_s
        self._warm_up_s = warm_up_s
        self._begun = False
        self.planner = Planner(clock(), warm_up_s=warm_up_s)
        self.published: Prices | None = None
        self._groups: ClientGroups | None = None

    def lead(self, term: int) -> None:
        """Begin a term with no demand; `run` reads the prices in force."""
        self._publisher.begin(term)
        self._begun = False
        self.planner = Planner(self._clock(), warm_up_s=self._warm_up_s)

    async def take(self, report: DemandReport, *, token: str) -> None:
        """Add the demand that an edge reports with the token of this id.

        Services that are not in the plan are ignored.
        """
        plan = self._feed.plan
        if plan is not None and self._geo is not None:
            groups = await self._groups_of(plan, self._geo)
            self.planner.take(report, groups, self._clock(), source=token)

    def wanted(self) -> Wanted:
        """Where clients are, according to the demand reported to this leader."""
        return wanted_of(self.planner.demand.clients(self._clock()))

    async def run(self) -> None:
        """Run turns until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception as error:
                if not unavailable(error):
                    log.exception("planner.failed")
            await asyncio.sleep(LOOK_S)

    async def turn(self) -> None:
        """Plan once, if that is due, without the demand of tokens that are not valid any more."""
        now = self._now()
        self.planner.demand.keep_sources(lambda token: self._is_valid(token, now))
        plan, status = self._feed.plan, self._feed.status
        if not self._publisher.may_publish() or plan is None or status is None or self._geo is None:
            return
        if not self._begun:
            await self._begin(plan)
            if not self._begun:
                return
        groups = await self._groups_of(plan, self._geo)
        steering = Steering(groups.rtt.topology, status, self._now(), rtt=groups.rtt)
        supply = await asyncio.to_thread(supply_of, steering)
        planner = self.planner
        if not planner.due(steering, supply, self._clock(), self._plan_s):
            return
        work = planner.round(steering, groups, supply, self._clock)
        if work is None:
            return
        await asyncio.to_thread(work)
        is_ours = planner is self.planner and self._publisher.may_publish()
        if is_ours and planner.rounds.differs_from(self.published):
            await self._publish(plan)

    async def _begin(self, plan: Plan) -> None:
        """Keep the prices that the previous leader published, until there is cause for others."""
        term, received = self._publisher.term, self._feed.guidance.within(plan.lineage).prices
        prices = await self.history.begin(received)
        if prices is not None:
            await self._publisher.restore(prices)
        if term != self._publisher.term:
            return
        self.published = prices
        if prices is not None:
            self.planner.rounds.hold(prices)
        self._begun = True

    async def _groups_of(self, plan: Plan, geo: GeoTable) -> ClientGroups:
        """The round-trip map that edges have, with its groups of clients; cached."""
        latency, cached = self._feed.guidance.within(plan.lineage).latency, self._groups
        is_same = cached is not None and cached.rtt.topology.plan is plan
        if cached is not None and is_same and cached.rtt.latency is latency:
            return cached

        def make() -> ClientGroups:
            former = cached.rtt if cached is not None else None
            return ClientGroups.of(RttMap.following(former, plan, geo, latency))

        self._groups = cached = await asyncio.to_thread(make)
        return cached

    async def _publish(self, plan: Plan) -> None:
        number, now = self._publisher.next_number, self._now()
        prices = self.planner.rounds.snapshot(number, lineage=plan.lineage, created_at=now)
        if await self._publisher.publish_large(prices):
            self.published = prices
            log.info("prices.published", number=number, now=prices.now)
            await self.history.note(prices)
