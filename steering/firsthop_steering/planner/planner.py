"""Who plans: from what edges report of their answers to the prices that hold.

The leader of the control planes is one, and so is an edge that has been left alone. Pure; the
clock is an argument.
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
"""From one round to the next, if nothing happens meanwhile."""
FULL_PLAN_S = 5.0
"""While a region carries more than it can: as often as loads are reported."""
WARM_UP_S = 60.0
"""Whoever begins holds the prices in force until it has heard of demand for so long."""
MAX_TTL_S = 600.0
"""Prices wait no longer for caches, or one service that is kept for a day would stop them all."""
MAX_SHARE, MIN_NOTES = 0.05, 8
"""Of one report's clients of a region no prefix counts for more than the first share of them all,
nor than the mean, unless it was noted less often than the second: a crowd is behind many."""
MIN_ANSWERS = 100
"""Nothing is planned on fewer."""


class Planner:
    """Since one began, in seconds of a monotonic clock."""

    def __init__(self, began_at: float, *, warm_up_s: float = WARM_UP_S) -> None:
        self.demand = Demand(began_at)
        self.rounds = Rounds()
        self._warm_up_s = warm_up_s
        self._at = 0.0
        self._about: tuple[object, ...] = ()
        """Plan and lost regions of the last round."""

    def take(self, report: DemandReport, client_groups: ClientGroups, now: float) -> None:
        """What one edge answered. Services that the plan does not know want nothing."""
        services = client_groups.plan.document.services
        lasts = {each.id: each.ttl for each in services if each.pool == "relays"}
        for each in report.answers:
            if each.service not in lasts:
                continue
            prefixes = np.array([parse_prefix(text) for text in each.clients], dtype=np.uint64)
            groups = client_groups.groups_of(prefixes).tolist()
            counts, answers = list(each.clients.values()), each.answers
            if each.source == "dns":
                before, counts = sum(counts), fair(counts)
                answers = max(round(answers * sum(counts) / before), 1)
            noted: dict[int, int] = {}
            for group, count in zip(groups, counts, strict=True):
                noted[group] = noted.get(group, 0) + count
            lasts_s = ALLOCATION_S if each.source == "allocations" else max(lasts[each.service], 1)
            self.demand.take(each.service, noted, answers=answers, lasts_s=lasts_s, now=now)
        self.demand.reports += 1

    def due(self, steering: Steering, supply: Supply, now: float, plan_s: float = PLAN_S) -> bool:
        """Whether a round is: after `plan_s`, sooner where a region is above its capacity, or
        because one was lost or the plan changed."""
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
        """What there is to work out, which takes seconds: call it in a thread. None where not
        enough is known of demand. Reports that are taken meanwhile count in the next round."""
        now = clock()
        elapsed_s, self._at = now - self._at, now
        self._about = steering.topology.plan.number, tuple(supply.lost.tolist())
        heard_s = now - self.demand.began_at
        if self.rounds.rest(supply):
            return _nothing
        if heard_s < self._warm_up_s or self.demand.answers < MIN_ANSWERS or not supply.regions:
            return None
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
    """There is nothing to work out: nothing is charged."""


def fair(counts: list[int]) -> list[int]:
    """How often each prefix counts that was noted so often: by MAX_SHARE and MIN_NOTES."""
    most = max(max(counts), 1)
    while True:
        total = sum(min(each, most) for each in counts)
        cap = int(max(MAX_SHARE * total, total / len(counts), MIN_NOTES))
        if cap >= most:
            return [min(each, most) for each in counts]
        most = cap
