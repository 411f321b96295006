"""From a problem to prices: one call for the planner's loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.problem import MAX_PRICE_MS, TransportProblem
from firsthop_steering.planner.smooth import Smoothed

_ROUNDS = 12
"""How often prices are corrected by what real clients make of them."""
_MIN_OVER = 0.001
"""Of a limit: finer it cannot be told, for a sixtieth of a large group moves at a time."""
_MIN_TARGET = 0.01
"""Of a limit: a region is aimed at no less."""
_LITTLE = 0.01
"""Of all limits: room that is not worth a search."""
_FAINT_MS = 3.0
"""Below it a price that is not needed does little harm."""

MAX_RISE_MS, MAX_FALL_MS = 60.0, 5.0
"""A price's way within one TTL. Rising is a region's relief; falling brings back clients who have
left, so it may take its time."""


@dataclass(frozen=True, slots=True)
class _Tolerance:
    """By how much of its limit a region may be above it (half of the way to its capacity at most),
    and below it while it has a price (and both ways of chance more); and which share of all room
    may be where there is a price: regions that are all dear hold each other up."""

    over: float
    idle: float
    dear: float


_NEW, _HELD = _Tolerance(0.02, 0.04, np.inf), _Tolerance(0.03, 0.1, 0.15)
"""New prices need not be exact, only right. For less than the second nobody is moved, or the few
caches that make a small region full would go to and fro for ever."""


@dataclass(frozen=True, slots=True)
class PlannedPrices:
    """In ms, a region each; and the greatest load over limit that they come to."""

    prices: Floats
    worst: float


def plan_prices(
    problem: TransportProblem, regions: Sequence[str], start: Floats, least: Floats | None = None
) -> PlannedPrices:
    """Prices for these regions, looked for from `start`, the ones in force.

    `least` is what each is charged at least, for prices fall slowly (`lowest`): whoever is kept
    away so for a while must not overload others. None: 0.

    Where these still do, they stay: nobody moves. Else they are worked out for clients who choose
    smoothly, and corrected by what the real ones, who choose by bucket, make of them: what the
    smooth ones are aimed at gives way by as much as these differ, and by half as much for a region
    each time that this turns, for the real ones move in steps. A region is aimed below its limit
    by what chance may bring.
    """
    relief = reliefs(regions)
    least = np.zeros(len(start)) if least is None else least
    held = np.clip(start, least, MAX_PRICE_MS)
    here = best = _tried(problem, relief, held, least, _HELD)
    if here.settled:
        return PlannedPrices(here.prices, here.worst)
    smooth = Smoothed.of(problem)
    limits = np.maximum(problem.limits, 1e-9)
    slack = _slack(problem)
    astray, change = np.zeros((2, len(limits)))
    share = np.ones(len(limits))
    for _ in range(_ROUNDS):
        before, change = change, here.load - smooth.load(here.prices) - astray
        share = np.where(before * change < 0, share / 2, share)
        astray += share * change
        aims = limits - _left_for_chance(here.margin, limits, slack)
        targets = np.maximum(aims - astray, _MIN_TARGET * limits)
        prices = smooth.settle(here.prices, targets, least)
        here = _tried(problem, relief, prices, least, _NEW)
        best = min(best, here, key=lambda each: (not each.settled, each.worst))
        if here.settled:
            break
    return PlannedPrices(best.prices, best.worst)


@dataclass(frozen=True, slots=True)
class _Tried:
    """Prices, the load that they come to and what chance may bring, the greatest load over its
    limit, and whether the prices do."""

    prices: Floats
    load: Floats
    margin: Floats
    worst: float
    settled: bool
    """No price has to change, or can: that is optimal, by complementary slackness, but for
    tolerances."""


def _tried(
    problem: TransportProblem, relief: Floats, prices: Floats, least: Floats, may: _Tolerance
) -> _Tried:
    found = outcome(problem, prices, relief)
    limits = np.maximum(problem.limits, 1e-9)
    excess = np.where(problem.capacity > 0, found.load / limits - 1, 0.0)
    room = np.where(problem.capacity > limits, problem.capacity / limits - 1, may.over)
    over = (excess > np.clip(room / 2, _MIN_OVER, may.over)) & (prices < MAX_PRICE_MS)
    priced = prices > np.maximum(least, _FAINT_MS)
    idle = priced & (excess < -may.idle - 2 * found.margin / limits)
    slack = _slack(problem)
    unused = np.maximum(-excess * limits - _left_for_chance(found.margin, limits, slack), 0.0)
    is_dear = unused[priced].sum() > max(may.dear * slack, _LITTLE * limits.sum())
    settled = not (is_dear or (over | idle).any())
    return _Tried(prices, found.load, found.margin, float(excess.max()) + 1, settled)


def _slack(problem: TransportProblem) -> float:
    return max(float(problem.limits.sum() - problem.demand.sum()), 0.0)


def _left_for_chance(margin: Floats, limits: Floats, slack: float) -> Floats:
    """How much below its limit a region is aimed: by what chance may bring, but no more than half
    of it, nor, in all, than half of the room that there is, or no prices would do."""
    margin = np.minimum(margin, limits / 2)
    return margin * min(slack / 2 / max(float(margin.sum()), 1e-9), 1.0)


def prices_without(
    problem: TransportProblem, regions: Sequence[str], start: Floats, lost: int
) -> PlannedPrices:
    """The prices to charge while a region is lost, so that its clients overload no other (N−1)."""
    start = np.where(np.arange(len(start)) == lost, 0.0, start)
    return plan_prices(problem.without(lost), regions, start)


def lowest(before: Floats, *, elapsed_s: float, ttl_s: float) -> Floats:
    """What prices fall to at most, so long after those were in force."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    return np.clip(before - MAX_FALL_MS * share, 0.0, MAX_PRICE_MS)


def eased(
    before: Floats, wanted: Floats, least: Floats, *, elapsed_s: float, ttl_s: float
) -> Floats:
    """The prices to publish: on the way to the wanted ones, not below the least (`lowest`), and
    rising no faster than caches follow."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    return np.clip(wanted, least, before + MAX_RISE_MS * share)
