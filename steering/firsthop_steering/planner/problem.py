"""The transport problem: groups with demand, regions with capacity, and the cost of each pair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision.availability import TARGET_UTILISATION

MAX_PRICE_MS = 500.0
"""Larger than the cost of any detour on Earth; a higher price cannot move more clients."""


@dataclass(frozen=True, slots=True)
class TransportProblem:
    """`cost_ms` (groups × regions) is RTT − bias, infinite if a group may not use a region. Demand
    and capacity are in sessions. Every group has a finite cost for at least one region."""

    cost_ms: Floats
    demand: Floats
    capacity: Floats
    grain: float = 0.0
    """Demand that moves as a unit: the sessions behind one cache. 0: every client by itself."""

    @property
    def limits(self) -> Floats:
        """The load to which each region may be filled.

        TARGET_UTILISATION of its capacity, or midway between the overall utilisation and full if
        that is higher, so that some freedom of choice remains. If demand exceeds all capacity, all
        regions are overloaded equally.
        """
        load = float(self.demand.sum()) / max(float(self.capacity.sum()), 1e-9)
        share = max(TARGET_UTILISATION, (1 + load) / 2) if load < 1 else load * 1.001
        limits: Floats = self.capacity * share
        return limits

    def without(self, region: int) -> TransportProblem:
        """The problem after the loss of a region; groups with no other region have no demand."""
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
    """Merges groups with equal costs, which decide alike; also returns each group's new index."""
    distinct, which = np.unique(problem.cost_ms, axis=0, return_inverse=True)
    which = which.reshape(-1)
    demand = np.bincount(which, problem.demand, len(distinct)).astype(np.float64)
    return replace(problem, cost_ms=distinct, demand=demand), which
