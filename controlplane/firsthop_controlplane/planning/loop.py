"""The leader's planning: every fifteen seconds, and when a region is lost or the plan changes."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable

import numpy as np
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed import Feed
from firsthop_controlplane.leadership import first_number
from firsthop_controlplane.learning.exploring import Wanted
from firsthop_controlplane.learning.loop import LatencyLoop
from firsthop_controlplane.observations import Clock
from firsthop_controlplane.planning.demand import ALLOCATION_S, Demand
from firsthop_controlplane.planning.groups import Charted, rows_of, supply_of, wanted_of
from firsthop_controlplane.planning.rounds import Rounds
from firsthop_controlplane.store import learned as store
from firsthop_controlplane.store.engine import unavailable
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.atlas import Atlas
from firsthop_steering.decide import Steering
from firsthop_steering.demand import DemandReport
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_steering.rtt_map import RttMap
from firsthop_steering.snapshot import Plan, Prices, supersedes

log = structlog.get_logger(__name__)
PLAN_S = 15.0
LOOK_S = 0.5
"""How late a lost region is seen; edges have prices ready for it."""
WARM_UP_S = 60.0
"""A new leader holds the prices in force until it has heard demand for so long."""
LEAST_ANSWERS = 100
"""Nothing is planned on fewer."""


class PlannerLoop:
    """One replica's; does nothing while another leads."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        latency: LatencyLoop,
        geo: GeoTable | None,
        *,
        now: Clock,
        clock: Callable[[], float],
        plan_s: float = PLAN_S,
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        """`now` is the time of day and `clock` is monotonic, in seconds. Without geo data nothing
        is planned."""
        self._engine = engine
        self._feed = feed
        self._latency = latency
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
        self.demand = Demand(clock())
        self.rounds = Rounds()
        self.published: Prices | None = None
        self._charted: Charted | None = None
        self._planned_at = 0.0
        self._planned: tuple[object, ...] = ()
        """Plan and lost regions of the last round."""

    def lead(self, term: int) -> None:
        """Begin a term: demand is to be heard anew, the prices in force are read by `run`."""
        self._term, self._number, self._begun = term, first_number(term), False
        self.demand, self.rounds = Demand(self._clock()), Rounds()

    async def take(self, report: DemandReport) -> None:
        """What one edge answered. Services that the plan does not know want nothing."""
        plan = self._feed.plan
        if plan is None or self._geo is None:
            return
        lasts = {each.id: each.ttl for each in plan.document.services if each.pool == "relays"}
        charted, now = await self._chart(plan, self._geo), self._clock()
        for each in report.answers:
            if each.service not in lasts:
                continue
            prefixes = np.array([parse_prefix(text) for text in each.clients], dtype=np.uint64)
            groups = charted.groups_of(prefixes, plan).tolist()
            noted: dict[int, int] = {}
            for group, count in zip(groups, each.clients.values(), strict=True):
                noted[group] = noted.get(group, 0) + count
            lasts_s = ALLOCATION_S if each.source == "allocations" else max(lasts[each.service], 1)
            self.demand.take(each.service, noted, answers=each.answers, lasts_s=lasts_s, now=now)
        self.demand.reports += 1

    def wanted(self) -> Wanted:
        """Where clients are, as far as this leader has heard."""
        return wanted_of(self.demand.clients(self._clock()))

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
            await self._begin()
        charted = await self._chart(plan, self._geo)
        steering = Steering(charted.rtt.atlas, status, self._now(), rtt=charted.rtt)
        supply = await asyncio.to_thread(supply_of, plan, steering)
        about = plan.number, tuple(supply.lost.tolist())
        elapsed_s = self._clock() - self._planned_at
        if elapsed_s < self._plan_s and about == self._planned:
            return
        self._planned_at, self._planned = self._clock(), about
        if not self._hears_enough():
            return
        services = [each for each in plan.document.services if each.pool == "relays"]
        self.demand.keep_only(each.id for each in services)
        clients = self.demand.clients(self._clock())
        rounds = self.rounds

        def plan_it() -> None:
            rows = rows_of(clients, charted, steering)
            if len(rows.clients):
                rounds.round(
                    rows,
                    supply,
                    elapsed_s=elapsed_s,
                    ttl_s=max([each.ttl for each in services], default=1),
                    clock=self._clock,
                )

        await asyncio.to_thread(plan_it)
        if rounds is self.rounds and self.may_publish() and rounds.is_news(self.published):
            await self._publish(plan)

    def _hears_enough(self) -> bool:
        heard_s = self._clock() - self.demand.began_at
        return heard_s >= self._warm_up_s and self.demand.answers >= LEAST_ANSWERS

    async def _begin(self) -> None:
        """The prices that the leader before left hold until there is reason for others."""
        prices: Prices | None = None
        try:
            prices = await store.load_snapshot(self._engine, "prices", Prices)
        except (ValueError, zlib.error) as error:  # plan anew rather than never
            log.error("prices.store_refused", reason=str(error))
        if prices is not None and supersedes(prices, self._feed.present("prices")):
            self._feed.publish(prices)
        self.published = prices
        if prices is not None:
            self.rounds.now = dict(prices.now)
            self.rounds.without = {name: dict(row) for name, row in prices.without.items()}
        self._begun = True

    async def _chart(self, plan: Plan, geo: GeoTable) -> Charted:
        """What edges go by, and where groups are in it; the last one is kept."""
        latency, chart = self._feed.guidance.within(plan.lineage).latency, self._charted
        is_same = chart is not None and chart.rtt.atlas.plan is plan
        if chart is not None and is_same and chart.rtt.latency is latency:
            return chart
        ground = await self._latency.ground_of(plan, geo)

        def make() -> Charted:
            atlas = chart.rtt.atlas if chart is not None and is_same else Atlas(plan, geo)
            return Charted.of(ground, RttMap(atlas, latency))

        self._charted = chart = await asyncio.to_thread(make)
        return chart

    async def _publish(self, plan: Plan) -> None:
        self._number += 1
        self.published = Prices(
            number=self._number,
            lineage=plan.lineage,
            created_at=self._now(),
            now=dict(self.rounds.now),
            without={name: dict(row) for name, row in self.rounds.without.items()},
        )
        self._feed.publish(self.published)
        log.info("prices.published", number=self._number, now=self.published.now)
        with contextlib.suppress(Exception):  # the next ones are saved
            await store.save_snapshot(self._engine, self._term, self.published)
