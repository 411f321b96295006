"""From a problem to prices: one call for the planner's loop, with and without HiGHS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from firsthop_steering.planner.highs import NoSolverError, lp_prices
from firsthop_steering.planner.market import approached, balance, reliefs
from firsthop_steering.planner.problem import Problem, merged
from firsthop_steering.rtt.samples import Floats

_FEW_LOOKS = 8
"""Looks that go on from the prices in force, before everything is worked out anew."""

FEEDBACK = 0.1
"""Share of a difference that one planning round corrects."""

MOST_RISE_MS, MOST_FALL_MS = 60.0, 5.0
"""A price's way within one TTL. Rising is a region's relief; falling brings back clients who have
left, so it may take its time."""


@dataclass(frozen=True, slots=True)
class Prices:
    """In ms, a region each; the greatest load over limit that they come to, and how found."""

    prices: Floats
    worst: float
    method: Literal["highs", "ascent"]


def plan_prices(
    problem: Problem,
    regions: Sequence[str],
    start: Floats,
    solver: Callable[[Problem, Floats], Floats] = lp_prices,
) -> Prices:
    """Prices for these regions, looked for from `start`, the ones in force.

    Where few steps from there are enough, these are taken: the fewest clients move. Else the way
    is made anew; and where that does not settle either, the linear programme says where the top
    is, and the balance sees to it that clients, who choose by bucket, do what it found.
    """
    problem, _ = merged(problem)
    relief = reliefs(regions)
    near = balance(problem, start, relief, looks=_FEW_LOOKS)
    if near.settled:
        return Prices(near.prices, near.worst, "ascent")
    anew = balance(problem, approached(problem, start, relief), relief)
    if anew.settled:
        return Prices(anew.prices, anew.worst, "ascent")
    best = min(near, anew, key=lambda each: each.worst)
    try:
        exact = balance(problem, solver(problem, anew.prices), relief)
    except NoSolverError:
        return Prices(best.prices, best.worst, "ascent")
    if best.worst < exact.worst:
        return Prices(best.prices, best.worst, "ascent")
    return Prices(exact.prices, exact.worst, "highs")


def prices_without(
    problem: Problem,
    regions: Sequence[str],
    start: Floats,
    lost: int,
    solver: Callable[[Problem, Floats], Floats] = lp_prices,
) -> Prices:
    """The prices to charge while a region is lost, so that its clients overload no other (N−1)."""
    start = np.where(np.arange(len(start)) == lost, 0.0, start)
    return plan_prices(problem.without(lost), regions, start, solver)


def corrected(factors: Floats, reported: Floats, predicted: Floats) -> Floats:
    """Each region's load by its reports, over what the plan makes of the reported demand.

    Few large resolvers are not spread over the buckets as a plan assumes, nor do they all keep to
    the TTL. So what a region reports beyond the prediction makes its capacity count for less:
    divide by the factor. It follows slowly, for reports lag, and is never below 1, for a region
    that is still being filled also reports less than predicted.
    """
    ratio = np.where(predicted > 0, reported / np.maximum(predicted, 1e-9), 1.0)
    return np.clip(factors + FEEDBACK * (np.clip(ratio, 0.5, 1.5) - factors), 1.0, 1.5)


def eased(before: Floats, wanted: Floats, *, elapsed_s: float, ttl_s: float) -> Floats:
    """The prices to publish: on the way to the wanted ones, no faster than caches follow."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    return np.clip(wanted, before - MOST_FALL_MS * share, before + MOST_RISE_MS * share)
