"""The planner: takes demand reports of edges and computes the prices in force.

The leading control plane runs one, and so does an edge that is isolated. The clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from firsthop_steering.decision.decide import Steering
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.planner.demand import ALLOCATION_S, Demand
from firsthop_steering.planner.groups import ClientGroups, Supply, restored, rows_of
from firsthop_steering.planner.rounds import Rounds
from firsthop_steering.rtt.samples import parse_prefix

PLAN_S = 10.0
"""Interval between rounds, unless an event requires an earlier one."""
FULL_PLAN_S = 5.0
"""Interval while a region exceeds its capacity: as often as loads are reported."""
WARM_UP_S = 60.0
"""A new planner keeps the prices in force until it has observed demand for this long."""
MAX_TTL_S = 600.0
"""Upper bound of the TTL that prices wait for; one service with a TTL of a day must not stop all
price changes."""
MAX_SHARE, MIN_NOTES = 0.05, 8
"""In one report on a region a prefix counts at most for the largest of: this share of all samples,
the mean per prefix, and MIN_NOTES samples. A real surge comes from many prefixes."""
MIN_ANSWERS = 100
"""Fewer answers are not enough to plan."""


class Planner:
    """Demand and prices since the planner began; times are seconds of a monotonic clock."""

    def __init__(self, began_at: float, *, warm_up_s: float = WARM_UP_S) -> None:
        self.demand = Demand(began_at)
        self.rounds = Rounds()
        self._warm_up_s = warm_up_s
        self._at = 0.0
        self._about: tuple[object, ...] = ()
        """Plan number and lost regions of the last round."""

    def take(
        self, report: DemandReport, client_groups: ClientGroups, now: float, *, source: str = ""
    ) -> None:
        """Adds the report of one edge, the `source`; services not in the plan are ignored."""
        services = client_groups.plan.document.services
        lasts = {each.id: each.ttl for each in services if each.pool == "relays"}
        for each in report.answers:
            if each.service not in lasts:
                continue
            prefixes = np.array([parse_prefix(text) for text in each.clients], dtype=np.uint64)
            groups = client_groups.groups_of(prefixes).tolist()
            counts, answers = list(each.clients.values()), each.answers
            if each.source == "dns":
                before, counts = sum(counts), capped_counts(counts)
                answers = max(round(answers * sum(counts) / before), 1)
            noted: dict[int, int] = {}
            for group, count in zip(groups, counts, strict=True):
                noted[group] = noted.get(group, 0) + count
            lasts_s = ALLOCATION_S if each.source == "allocations" else max(lasts[each.service], 1)
            self.demand.take(
                each.service,
                noted,
                answers=answers,
                lasts_s=lasts_s,
                now=now,
                source=source,
                family=each.family,
            )
        self.demand.reports += 1

    def due(self, steering: Steering, supply: Supply, now: float, plan_s: float = PLAN_S) -> bool:
        """Whether a round is due: after `plan_s`, earlier if a region exceeds its capacity, and at
        once if a region was lost or the plan changed."""
        about = steering.topology.plan.number, tuple(supply.lost.tolist())
        if (supply.sessions > supply.capacity).any():
            plan_s = min(plan_s, FULL_PLAN_S)
        return now - self._at >= plan_s or about != self._about

    def round(
        self,
        steering: Steering,
        client_groups: ClientGroups,
        supply: Supply,
        clock: Callable[[], float],
    ) -> Callable[[], None] | None:
        """Begins a round; returns the computation, which takes seconds and may run in a thread.

        Returns None if too little demand was observed. Reports taken during the computation count
        in the next round.
        """
        now = clock()
        elapsed_s, self._at = now - self._at, now
        self._about = steering.topology.plan.number, tuple(supply.lost.tolist())
        observed_s = now - self.demand.began_at
        if observed_s < self._warm_up_s or self.demand.answers < MIN_ANSWERS or not supply.regions:
            return _nothing if self.rounds.clear_if_calm(supply) else None
        services = [each for each in client_groups.plan.document.services if each.pool == "relays"]
        self.demand.keep_only(each.id for each in services)
        clients, rounds = self.demand.clients(now), self.rounds
        ttl_s = min(max([each.ttl for each in services], default=1), MAX_TTL_S)

        def work() -> None:
            rows = rows_of(clients, client_groups, steering)
            if len(rows.clients):
                rounds.round(
                    rows,
                    supply,
                    elapsed_s=elapsed_s,
                    ttl_s=ttl_s,
                    clock=clock,
                    restored=restored(clients, client_groups, steering, supply.lost),
                )

        return work


def _nothing() -> None:
    """The computation of a round in which all prices are 0."""


def capped_counts(counts: list[int]) -> list[int]:
    """Caps the sample counts of a report's prefixes by MAX_SHARE and MIN_NOTES."""
    limit = max(max(counts), 1)
    while True:
        total = sum(min(each, limit) for each in counts)
        cap = int(max(MAX_SHARE * total, total / len(counts), MIN_NOTES))
        if cap >= limit:
            return [min(each, limit) for each in counts]
        limit = cap
