"""Which region a client may try beside its own, so that estimates can be wrong only for a while.

Exploration is bounded (a share of all allocations), directed (only to regions whose lower
confidence bound beats the incumbent) and harmless (never to a region that is loaded, draining or
down; as extra candidates that the client races).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.estimates import Estimates

SHARE = 0.03
"""Of all allocations."""
FIRST_SHARE = 0.75
"""Of the budget, for better first regions; the rest and what that leaves is for second ones, which
clients need at once when a region dies."""
MAX_GROUP_SHARE = 0.2
"""Of one group's allocations, however much the others leave over."""
CONFIDENCE = 1.28
"""Standard deviations: the bound is above the truth in one case of ten. Surer, and much of the
budget goes to regions that are hardly ever better."""
CANDIDATES = 2
"""Regions that an allocation which explores carries beside its own. The client races them all at
once, so the second costs it nothing, and tells as much as another allocation would."""


def lower_bounds_ms(estimates: Estimates) -> Floats:
    """The least RTT to believe in: by confidence, and never faster than light."""
    return np.maximum(estimates.rtt_ms - CONFIDENCE * estimates.deviation_ms, estimates.least_ms)


@dataclass(frozen=True, slots=True)
class Exploration:
    """What may be found out: per group a rate (share of its allocations) and each region's pull."""

    rates: Floats
    gain_ms: Floats


def explore(
    bounds_ms: Floats,
    rtt_ms: Floats,
    held: Ints,
    open_regions: npt.NDArray[np.bool_],
    demand: Floats,
    share: float = SHARE,
) -> Exploration:
    """Where to look, for groups whose order of regions is `held` (best first).

    A group looks for what may beat its first region. Those that can find nothing there share what
    the others leave of the budget, and look whether their second is what it seems, or another
    beats it: it is where they go when the first one dies. `open_regions` says for each group and
    region whether it may be tried.
    """
    may = open_regions.copy()
    np.put_along_axis(may, held[:, :1], False, axis=1)
    first = _gain_ms(bounds_ms, rtt_ms, held[:, 0], may)
    rates = _rates(first, demand, FIRST_SHARE * share * float(demand.sum()))
    if held.shape[1] < 2:
        return Exploration(rates, first)
    left = share * float(demand.sum()) - float((rates * demand).sum())
    content = first.max(axis=1) <= 0
    second = _gain_ms(bounds_ms, rtt_ms, held[:, 1], may & content[:, None])
    return Exploration(rates + _rates(second, demand, max(left, 0.0)), first + second)


def _gain_ms(
    bounds_ms: Floats, rtt_ms: Floats, holders: Ints, may: npt.NDArray[np.bool_]
) -> Floats:
    """By how much the bound of each region that may be tried beats the holder's estimate, else 0.

    For the holder itself, where it may be tried, that is how uncertain it is.
    """
    incumbent = np.take_along_axis(rtt_ms, holders[:, None], axis=1)
    return np.where(may, np.maximum(incumbent - bounds_ms, 0.0), 0.0)


def _rates(gain: Floats, demand: Floats, budget: float) -> Floats:
    """The budget goes to groups by demand and by what is at stake, their greatest promise.

    What a group cannot use (MAX_OF_GROUP) goes to the others in the same way.
    """
    stake = gain.max(axis=1) * demand
    rates = np.zeros(len(demand))
    for _ in range(4):
        wanting = (rates < MAX_GROUP_SHARE) & (stake > 0)
        left = budget - float((rates * demand).sum())
        total = float(stake[wanting].sum())
        if total <= 0 or left <= 0:
            break
        share = left * stake[wanting] / total / demand[wanting]
        rates[wanting] = np.minimum(rates[wanting] + share, MAX_GROUP_SHARE)
    return rates


def choose(gain: Floats, chance: Floats) -> Ints:
    """Regions to try for each group, drawn in proportion to promise squared, each at most once.

    `chance` is uniform in [0, 1): groups × CANDIDATES, and so is the result; −1 where nothing (or
    nothing further) promises. Drawing, rather than the best of all, lets many clients of one cell
    look at several regions at the same time.
    """
    odds, drawn = gain**2, np.empty(chance.shape, dtype=np.int64)
    for turn, at in enumerate(chance.T):
        total = np.cumsum(odds, axis=1)
        region = (total <= (at * total[:, -1])[:, None]).sum(axis=1)
        drawn[:, turn] = np.where(total[:, -1] > 0, np.minimum(region, odds.shape[1] - 1), -1)
        np.put_along_axis(odds, np.maximum(drawn[:, turn], 0)[:, None], 0.0, axis=1)
    return drawn
