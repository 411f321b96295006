"""Computes prices for a transport problem, starting from the prices in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.problem import MAX_PRICE_MS, TransportProblem
from firsthop_steering.planner.smooth import Smoothed

_ROUNDS = 12
"""Corrections of the smoothed solution by the load of clients that choose by bucket."""
_MIN_OVER = 0.001
"""Excess that is always tolerated, relative to a limit: a large group moves in steps of a
sixtieth."""
_MIN_TARGET = 0.01
"""Lower bound of a region's target load, relative to its limit."""
_LITTLE = 0.01
"""Unused room, relative to all limits, that is not worth a search."""
_FAINT_MS = 3.0
"""A price below this that is no longer needed is tolerated."""

MAX_RISE_MS, MAX_FALL_MS = 60.0, 5.0
"""Largest changes of a price within one TTL. A rise protects an overloaded region; a fall brings
back clients that left, so it can be slow."""


@dataclass(frozen=True, slots=True)
class _Tolerance:
    """When prices count as settled.

    `over`: tolerated load above a region's limit, relative to the limit, and at most half the way
    to its capacity. `idle`: tolerated load below the limit of a region with a price, in addition to
    random variation. `dear`: the share of all free room that may lie in regions with a price;
    above it prices sustain each other needlessly.
    """

    over: float
    idle: float
    dear: float


_NEW, _HELD = _Tolerance(0.02, 0.04, np.inf), _Tolerance(0.03, 0.1, 0.15)
"""Tolerances for new prices and for prices in force. The latter are wider; otherwise the few caches
that fill a small region would move back and forth forever."""


@dataclass(frozen=True, slots=True)
class PlannedPrices:
    """Prices in ms per region, and the largest resulting ratio of load to limit."""

    prices: Floats
    worst: float


def plan_prices(
    problem: TransportProblem, regions: Sequence[str], start: Floats, floor: Floats | None = None
) -> PlannedPrices:
    """Prices for these regions, searched from `start`, the prices in force.

    `floor` is a lower bound per region, since prices fall slowly (`price_floor`); clients that it
    displaces must not overload other regions. None: 0.

    If the prices in force still suffice, they are kept and no client moves. Otherwise prices are
    computed for a smoothed choice and corrected by the load of clients that choose by bucket: each
    region's target is shifted by the difference, and by half as much each time the difference
    changes sign, since bucketed clients move in steps. The targets lie below the limits by a margin
    for random load.
    """
    relief = reliefs(regions)
    floor = np.zeros(len(start)) if floor is None else floor
    held = np.clip(start, floor, MAX_PRICE_MS)
    here = best = _tried(problem, relief, held, floor, _HELD)
    if here.settled:
        return PlannedPrices(here.prices, here.worst)
    smooth = Smoothed.of(problem)
    limits = np.maximum(problem.limits, 1e-9)
    slack = _slack(problem)
    offset, change = np.zeros((2, len(limits)))
    share = np.ones(len(limits))
    for _ in range(_ROUNDS):
        before, change = change, here.load - smooth.load(here.prices) - offset
        share = np.where(before * change < 0, share / 2, share)
        offset += share * change
        aims = limits - _left_for_chance(here.margin, limits, slack)
        targets = np.maximum(aims - offset, _MIN_TARGET * limits)
        prices = smooth.settle(here.prices, targets, floor)
        here = _tried(problem, relief, prices, floor, _NEW)
        best = min(best, here, key=lambda each: (not each.settled, each.worst))
        if here.settled:
            break
    return PlannedPrices(best.prices, best.worst)


@dataclass(frozen=True, slots=True)
class _Tried:
    """Prices, the resulting load and its random margin, the largest load over limit, and whether
    the prices are settled."""

    prices: Floats
    load: Floats
    margin: Floats
    worst: float
    settled: bool
    """No price needs to change, or none can: optimal by complementary slackness, up to the
    tolerances."""


def _tried(
    problem: TransportProblem, relief: Floats, prices: Floats, floor: Floats, may: _Tolerance
) -> _Tried:
    found = outcome(problem, prices, relief)
    limits = np.maximum(problem.limits, 1e-9)
    excess = np.where(problem.capacity > 0, found.load / limits - 1, 0.0)
    room = np.where(problem.capacity > limits, problem.capacity / limits - 1, may.over)
    over = (excess > np.clip(room / 2, _MIN_OVER, may.over)) & (prices < MAX_PRICE_MS)
    priced = prices > np.maximum(floor, _FAINT_MS)
    idle = priced & (excess < -may.idle - 2 * found.margin / limits)
    slack = _slack(problem)
    unused = np.maximum(-excess * limits - _left_for_chance(found.margin, limits, slack), 0.0)
    is_dear = unused[priced].sum() > max(may.dear * slack, _LITTLE * limits.sum())
    settled = not (is_dear or (over | idle).any())
    return _Tried(prices, found.load, found.margin, float(excess.max()) + 1, settled)


def _slack(problem: TransportProblem) -> float:
    return max(float(problem.limits.sum() - problem.demand.sum()), 0.0)


def _left_for_chance(margin: Floats, limits: Floats, slack: float) -> Floats:
    """How far the target of each region lies below its limit: its random margin, but at most half
    the limit. The total is at most half of the free room; otherwise no prices would suffice."""
    margin = np.minimum(margin, limits / 2)
    return margin * min(slack / 2 / max(float(margin.sum()), 1e-9), 1.0)


def prices_without(
    problem: TransportProblem, regions: Sequence[str], start: Floats, lost: int
) -> PlannedPrices:
    """Prices for the loss of one region, so that its clients overload no other (N−1)."""
    start = np.where(np.arange(len(start)) == lost, 0.0, start)
    return plan_prices(problem.without(lost), regions, start)


def price_floor(before: Floats, *, elapsed_s: float, ttl_s: float) -> Floats:
    """The lowest prices allowed `elapsed_s` after the prices `before` came into force."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    return np.clip(before - MAX_FALL_MS * share, 0.0, MAX_PRICE_MS)


def bounded_prices(
    before: Floats, wanted: Floats, floor: Floats, *, elapsed_s: float, ttl_s: float
) -> Floats:
    """The prices to publish: the wanted ones, but at least `floor` (see `price_floor`), and rising
    no faster than caches follow."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    return np.clip(wanted, floor, before + MAX_RISE_MS * share)
