"""Computes prices by Newton's method on the smoothed dual of the transport problem.

The dual function, the groups' total cost at given prices less the value of the limits at these
prices, is concave in the prices. Its gradient is each region's load minus its limit, so it is
stationary where no price has to change. Smoothing by a logit choice makes it strictly concave, so
Newton's method converges from any start in about twenty steps (Cominetti and San Martin 1994; for
the interpretation as auction prices see Galichon, Optimal Transport Methods in Economics, 2016,
chapter 7).
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
"""Scale of the logit: differences between clients have the standard deviation of the difference of
two uniform reliefs of RELIEF_MS, 1.2 ms."""
_STEPS = 60
_NEAR = 1e-3
"""Tolerance, relative to a target."""
_DAMPING = 1e-3
"""Minimum demand that a millisecond moves, relative to a target: keeps a step finite where no group
is close to indifferent."""
_MAX_STEP_MS = 60.0
_MIN_STRIDE = 1e-3
_OVERSHOT = 0.5
"""A step may overshoot the maximum if the function still increases and its slope at the end is, in
size, at most this share of the slope at the start. Otherwise the step is halved."""
_BLOCK = 128
"""Rows per matrix product; with more, BLAS would start threads, which cost more than they save."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A transport problem with logit choice, at prices less their mean relief."""

    cost_ms: Singles
    """Relative to the lowest cost of the group."""
    demand: Singles
    open: npt.NDArray[np.bool_]
    """Mask of the regions with capacity; only these have prices."""

    @classmethod
    def of(cls, problem: TransportProblem) -> Smoothed:
        """Smooths `problem`."""
        cost = problem.cost_ms - problem.cost_ms.min(axis=1, keepdims=True)
        return cls(cost.astype(np.float32), problem.demand.astype(np.float32), problem.capacity > 0)

    def load(self, prices: Floats) -> Floats:
        """The load of each region at list prices."""
        return self._load(self._choices(without_relief(prices))[0])

    def settle(self, start: Floats, targets: Floats, floor: Floats) -> Floats:
        """The list prices at which each region's load is its target, or below it if its price is at
        its lower bound `floor`. The result does not depend on `start`."""
        mean_floor = without_relief(floor)
        mean = without_relief(np.clip(start, floor, MAX_PRICE_MS))
        mean_ceiling = float(without_relief(np.array(MAX_PRICE_MS)))
        shares, paid = self._choices(mean)
        slope = self._load(shares) - targets
        for _ in range(_STEPS):
            free = (
                self.open
                & ((mean > mean_floor) | (slope > 0))
                & ((mean < mean_ceiling) | (slope < 0))
            )
            if not free.any() or (np.abs(slope) / targets)[free].max() < _NEAR:
                break
            step = self._newton(shares, slope, targets, free)
            stride = 1.0
            while True:
                there = np.clip(mean + stride * step, mean_floor, mean_ceiling)
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
        """Shares of each group per region (groups × regions), and the smoothed total cost."""
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
        """The Newton step, limited to _MAX_STEP_MS per region."""
        at = np.flatnonzero(free)
        curve = (np.diag(self._load(shares)) - self._together(shares)) / SOFTNESS_MS
        matrix = curve[np.ix_(at, at)] + _DAMPING * np.diag(targets[at])
        step = np.zeros(len(slope))
        step[at] = np.linalg.solve(matrix, slope[at])
        return np.clip(step, -_MAX_STEP_MS, _MAX_STEP_MS)

    def _together(self, shares: Singles) -> Floats:
        """Regions × regions: sum over groups of demand × share in one × share in the other."""
        groups, regions = shares.shape
        blocks = -(-groups // _BLOCK)
        rows = np.zeros((blocks * _BLOCK, regions), np.float32)
        rows[:groups] = shares * np.sqrt(self.demand)[:, None]
        rows = rows.reshape(blocks, _BLOCK, regions)
        total: Floats = np.matmul(rows.transpose(0, 2, 1), rows).sum(axis=0, dtype=np.float64)
        return total


def without_relief(prices: Floats) -> Floats:
    """The mean charge at list prices: the mean relief is half of RELIEF_MS, or of the price."""
    mean: Floats = prices - np.minimum(prices, RELIEF_MS) / 2
    return mean


def with_relief(mean: Floats) -> Floats:
    """The list prices with the given mean charge; the inverse of `without_relief`."""
    return mean + np.minimum(mean, RELIEF_MS / 2)
