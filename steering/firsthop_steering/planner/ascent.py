"""Prices by ascent of the dual: where HiGHS is absent, where it starts from, and after it.

Raising one region's price moves its clients to their second choices. How many a millisecond moves
is counted among those whose two best scores are nearly equal; these flows are a graph's Laplacian,
and the prices that would just remove the excess solve a small linear system (Newton's method,
damped).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firsthop_steering.planner.problem import Problem
from firsthop_steering.rtt.samples import Floats

MOST_PRICE_MS = 500.0
"""Worse than any detour on this planet: beyond, nobody has anywhere to go."""
_LEAST_WIDTH_MS, _MOST_WIDTH_MS = 1.0, 16.0
"""How near is "nearly equal": as far as the last step went."""
_LEAST_CAUTION, _FIRST_CAUTION, _MOST_CAUTION = 1e-4, 0.02, 0.3
"""Without any clients to be moved, an excess of 100 % of the limit moves a price by the inverse."""
_MOST_STEP_MS = 30.0
_STRIDE_MS = 30.0
"""The first step of an approach, for a region that is twice as full as it may be."""
_FAINT_MS = 3.0
"""Below it a price that is not needed does little harm."""
_PATIENCE = 3
"""Steps within which it has to get better; one after another, it would creep along ridges."""
_OVER = 0.005
"""Of a limit: it is below the capacity, so this is no overload."""
_IDLE = 0.04
"""A priced region may stay so much below its limit: prices need not be exact, only right."""


@dataclass(frozen=True, slots=True)
class Market:
    """What prices come to: load a region, and demand from a first to a second choice that is
    worse by less than the width asked for (regions × regions)."""

    load: Floats
    flows: Floats


Look = Callable[[Floats, float], Market]
"""From prices and a width, both in ms."""


@dataclass(frozen=True, slots=True)
class Ascent:
    """The best prices found, how often the market was looked at, the greatest load over limit."""

    prices: Floats
    looks: int
    worst: float
    settled: bool
    """No price has to change: that is optimal, by complementary slackness, but for tolerances."""


def ascend(problem: Problem, start: Floats, look: Look, *, looks: int) -> Ascent:
    """Prices at which no region is over its limit and none is charged for that is not near it."""
    limits = np.maximum(problem.limits, 1e-9)
    width, caution = _MOST_WIDTH_MS, _FIRST_CAUTION
    here = best = _Look.at(np.clip(start, 0.0, MOST_PRICE_MS), look, width, problem)
    last = [here.loss(limits)] * _PATIENCE
    for count in range(2, looks + 1):
        if here.done(limits):
            return Ascent(here.prices, count, here.worst(limits), True)
        step = _newton(here, limits, width, caution)
        width = float(np.clip(np.abs(step).max(), _LEAST_WIDTH_MS, _MOST_WIDTH_MS))
        prices = np.clip(here.prices + step, 0.0, MOST_PRICE_MS)
        there = _Look.at(prices, look, width, problem)
        loss = there.loss(limits)
        if loss < max(last):
            here, caution = there, max(caution / 2, _LEAST_CAUTION)
            last = [*last[1:], loss]
            best = min(best, there, key=lambda each: each.loss(limits))
        elif caution < _MOST_CAUTION:
            here, caution = best, caution * 4
            last = [best.loss(limits)] * _PATIENCE
        else:  # where a small step changes nothing, or only for the worse, one has to be taken
            here, caution, last = there, _FIRST_CAUTION, [loss] * _PATIENCE
    return Ascent(best.prices, looks, best.worst(limits), False)


def approach(problem: Problem, start: Floats, look: Look, *, looks: int) -> Floats:
    """Prices that are about right, from anywhere: each follows its own excess, by ever smaller
    steps (subgradients). Newton's method is quick from there, and may circle from far."""
    limits = np.maximum(problem.limits, 1e-9)
    prices = np.clip(start, 0.0, MOST_PRICE_MS)
    for count in range(looks):
        excess = np.where(problem.capacity > 0, look(prices, 1.0).load / limits - 1, 0.0)
        step = _STRIDE_MS / (1 + count / 4) * np.clip(excess, -1.0, 1.0)
        prices = np.clip(prices + step, 0.0, MOST_PRICE_MS)
    return prices


@dataclass(frozen=True, slots=True)
class _Look:
    """Prices, and what the market makes of them."""

    prices: Floats
    excess: Floats
    flows: Floats
    """By the millisecond."""

    @classmethod
    def at(cls, prices: Floats, look: Look, width: float, problem: Problem) -> _Look:
        """Asks the market."""
        market = look(prices, width)
        excess = np.where(problem.capacity > 0, market.load - problem.limits, 0.0)
        return cls(prices, excess, market.flows / width)

    def loss(self, limits: Floats) -> float:
        """Demand at the wrong place: above limits, or missing where a price keeps it away; squared,
        by the size of the region."""
        kept_away = np.minimum(self.prices, _FAINT_MS) / _FAINT_MS
        wrong = np.where(self.excess > 0, self.excess, self.excess * kept_away)
        return float((wrong**2 / limits).sum())

    def worst(self, limits: Floats) -> float:
        """The greatest load over limit."""
        return float((self.excess / limits).max()) + 1

    def done(self, limits: Floats) -> bool:
        """Whether no price has to change."""
        relative = self.excess / limits
        return not ((relative > _OVER) | ((self.prices > _FAINT_MS) & (relative < -_IDLE))).any()


def _newton(here: _Look, limits: Floats, width: float, caution: float) -> Floats:
    """The change of prices that would take all excess away (Levenberg and Marquardt's damping)."""
    active = np.flatnonzero((here.prices > 0) | (here.excess > 0))
    step = np.zeros(len(limits))
    rate = here.flows + here.flows.T
    laplacian = np.diag(rate.sum(axis=1)) - rate
    matrix = laplacian[np.ix_(active, active)] + caution * np.diag(limits[active])
    step[active] = np.linalg.solve(matrix, here.excess[active])
    return np.clip(step, -_MOST_STEP_MS, _MOST_STEP_MS)
