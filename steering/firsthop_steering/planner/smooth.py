"""Prices by Newton's method on the dual of the transport problem, smoothed.

What groups pay in all, less what the limits are worth at these prices, is a concave function of
the prices: its slope is each region's load over its limit, and where that is flat no price has to
change. Smoothed by a logit choice it is curved everywhere, so that Newton's method gets there
from any start in about twenty steps (Cominetti and San Martin 1994; as an auction's prices:
Galichon, Optimal Transport Methods in Economics, 2016, chapter 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats
from firsthop_steering.decision.charges import RELIEF_MS
from firsthop_steering.planner.problem import MAX_PRICE_MS, TransportProblem

Singles = npt.NDArray[np.float32]

SOFTNESS_MS = 0.68
"""Scale of the logit: two clients differ by as much as two uniform reliefs of RELIEF_MS do, a
standard deviation of 1.2 ms."""
_STEPS = 60
_NEAR = 1e-3
"""Of a target: near enough."""
_DAMPING = 1e-3
"""Demand that a millisecond moves at least, of a target: so a step is finite where nobody is near
a choice."""
_MAX_STEP_MS = 60.0
_MIN_STRIDE = 1e-3
_OVERSHOT = 0.5
"""A step may end where it goes down again if that is gently, at most so much of how it went up, and
is higher all the same. Else it is halved."""
_BLOCK = 128
"""Rows that are multiplied at a time: BLAS would start threads for more, which cost many times what
they save."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A problem whose groups choose by logit, at prices less their mean relief."""

    cost_ms: Singles
    """Less the least of the group's."""
    demand: Singles
    open: npt.NDArray[np.bool_]
    """Regions that have a price: the others have no capacity."""

    @classmethod
    def of(cls, problem: TransportProblem) -> Smoothed:
        """Of a problem."""
        cost = problem.cost_ms - problem.cost_ms.min(axis=1, keepdims=True)
        return cls(cost.astype(np.float32), problem.demand.astype(np.float32), problem.capacity > 0)

    def load(self, prices: Floats) -> Floats:
        """Of each region, at list prices."""
        return self._load(self._choices(without_relief(prices))[0])

    def settle(self, start: Floats, targets: Floats, least: Floats) -> Floats:
        """The list prices at which no region has more than its target, and less only where it is
        charged the `least` that it may be. They do not depend on the start."""
        floor = without_relief(least)
        mean = without_relief(np.clip(start, least, MAX_PRICE_MS))
        most = float(without_relief(np.array(MAX_PRICE_MS)))
        shares, paid = self._choices(mean)
        slope = self._load(shares) - targets
        for _ in range(_STEPS):
            free = self.open & ((mean > floor) | (slope > 0)) & ((mean < most) | (slope < 0))
            if not free.any() or (np.abs(slope) / targets)[free].max() < _NEAR:
                break
            step = self._newton(shares, slope, targets, free)
            stride = 1.0
            while True:
                there = np.clip(mean + stride * step, floor, most)
                shares, then_paid = self._choices(there)
                after = self._load(shares) - targets
                along = there - mean
                rises = then_paid - paid > targets @ along
                mildest = -_OVERSHOT * (slope @ along) if rises else 0.0
                if after @ along >= mildest or stride < _MIN_STRIDE:
                    break
                stride /= 2
            mean, slope, paid = there, after, then_paid
        return with_relief(mean)

    def _choices(self, mean: Floats) -> tuple[Singles, float]:
        """Groups × regions: the share of each group that chooses each; and what all pay."""
        score = (self.cost_ms + mean.astype(np.float32)) * np.float32(-1 / SOFTNESS_MS)
        best = score.max(axis=1, keepdims=True)
        score -= best
        np.exp(score, out=score)
        total = score.sum(axis=1, keepdims=True)
        score /= total
        paid = (best + np.log(total))[:, 0].astype(np.float64) @ self.demand.astype(np.float64)
        return score, float(-SOFTNESS_MS * paid)

    def _load(self, shares: Singles) -> Floats:
        return (self.demand @ shares).astype(np.float64)

    def _newton(
        self, shares: Singles, slope: Floats, targets: Floats, free: npt.NDArray[np.bool_]
    ) -> Floats:
        """The change of prices that would make the slope 0, were the curve a parabola."""
        at = np.flatnonzero(free)
        curve = (np.diag(self._load(shares)) - self._together(shares)) / SOFTNESS_MS
        matrix = curve[np.ix_(at, at)] + _DAMPING * np.diag(targets[at])
        step = np.zeros(len(slope))
        step[at] = np.linalg.solve(matrix, slope[at])
        return np.clip(step, -_MAX_STEP_MS, _MAX_STEP_MS)

    def _together(self, shares: Singles) -> Floats:
        """Regions × regions: the demand-weighted sum of what groups give to both."""
        groups, regions = shares.shape
        blocks = -(-groups // _BLOCK)
        rows = np.zeros((blocks * _BLOCK, regions), np.float32)
        rows[:groups] = shares * np.sqrt(self.demand)[:, None]
        rows = rows.reshape(blocks, _BLOCK, regions)
        total: Floats = np.matmul(rows.transpose(0, 2, 1), rows).sum(axis=0, dtype=np.float64)
        return total


def without_relief(prices: Floats) -> Floats:
    """What a client is charged on average: the reliefs are half of RELIEF_MS in the mean."""
    mean: Floats = prices - np.minimum(prices, RELIEF_MS) / 2
    return mean


def with_relief(mean: Floats) -> Floats:
    """The list prices of which that is the mean."""
    return mean + np.minimum(mean, RELIEF_MS / 2)
