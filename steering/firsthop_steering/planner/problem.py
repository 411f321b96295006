"""What is planned: groups with demand, regions with capacity, and the cost of each pair in ms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision.availability import TARGET_UTILISATION

MAX_PRICE_MS = 500.0
"""Worse than any detour on this planet: beyond, nobody has anywhere to go."""


@dataclass(frozen=True, slots=True)
class TransportProblem:
    """`cost_ms` (groups × regions) is rtt − bias, infinite where a group may not go; demand and
    capacity have one unit (sessions). Every group has a finite cost somewhere."""

    cost_ms: Floats
    demand: Floats
    capacity: Floats
    grain: float = 0.0
    """Demand that decides as one: the sessions behind one cache. 0: each client by himself."""

    @property
    def limits(self) -> Floats:
        """What each region may be filled to.

        TARGET_UTILISATION, or midway between all demand over all capacity and full where that is
        more: there has to be room to choose. Beyond all capacity everybody is overloaded alike.
        """
        load = float(self.demand.sum()) / max(float(self.capacity.sum()), 1e-9)
        share = max(TARGET_UTILISATION, (1 + load) / 2) if load < 1 else load * 1.001
        limits: Floats = self.capacity * share
        return limits

    def without(self, region: int) -> TransportProblem:
        """The same after a region is lost. Groups that may go nowhere else are left out."""
        cost = self.cost_ms.copy()
        cost[:, region] = np.inf
        capacity = self.capacity.copy()
        capacity[region] = 0.0
        stranded = ~np.isfinite(cost).any(axis=1)
        cost[stranded] = np.where(np.arange(cost.shape[1]) == region, np.inf, 0.0)
        return replace(
            self, cost_ms=cost, demand=np.where(stranded, 0.0, self.demand), capacity=capacity
        )


def merged(problem: TransportProblem) -> tuple[TransportProblem, Ints]:
    """Groups with equal costs as one, and the new place of each: they decide alike."""
    distinct, which = np.unique(problem.cost_ms, axis=0, return_inverse=True)
    which = which.reshape(-1)
    demand = np.bincount(which, problem.demand, len(distinct)).astype(np.float64)
    return replace(problem, cost_ms=distinct, demand=demand), which
