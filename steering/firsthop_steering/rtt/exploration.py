"""Exploration: which other regions clients try, so that wrong estimates do not persist.

Exploration is bounded (a share of all allocations), directed (only to regions whose lower
confidence bound beats the incumbent) and harmless (never to a region that is down, draining, or at
85 % of its capacity or more; as an additional candidate of an ICE session, or by a ticket).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.estimates import Estimates

SHARE = 0.03
"""Share of all allocations that explore."""
FIRST_SHARE = 0.75
"""Share of the budget spent on a better first region. The rest, including what remains of this, is
spent on the second region, which clients need at once if the first fails."""
MAX_GROUP_SHARE = 0.2
"""Upper bound of one group's exploring allocations, relative to all its allocations."""
CONFIDENCE = 1.28
"""Standard deviations of the lower bound, which is above the truth in one case of ten. A wider
bound would spend much of the budget on regions that are hardly ever better."""
CANDIDATES = 2
"""Additional regions of an exploring allocation. The client checks all candidates in parallel, so
the second costs no time."""


def lower_bounds_ms(estimates: Estimates) -> Floats:
    """Lower confidence bounds of RTT in ms, never below the bound by the speed of light."""
    return np.maximum(estimates.rtt_ms - CONFIDENCE * estimates.deviation_ms, estimates.least_ms)


@dataclass(frozen=True, slots=True)
class Exploration:
    """Per group its exploration rate (share of its allocations), and groups × regions: the possible
    gain of each region, 0 if it is not worth exploring."""

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
    """Distributes the exploration budget over groups and regions.

    `held` (groups × regions) is each group's order of regions, best first. `open_regions` (groups ×
    regions) marks the regions that may be tried. A group explores regions that may beat its first
    region. Groups without such regions share the remaining budget and verify their second region,
    or explore what may beat it, as they depend on it if the first fails.
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
    bounds_ms: Floats, rtt_ms: Floats, incumbents: Ints, may: npt.NDArray[np.bool_]
) -> Floats:
    """By how much each allowed region's lower bound beats the incumbent's estimate, at least 0.

    For the incumbent itself, if it is allowed, this is its uncertainty.
    """
    incumbent = np.take_along_axis(rtt_ms, incumbents[:, None], axis=1)
    return np.where(may, np.maximum(incumbent - bounds_ms, 0.0), 0.0)


def _rates(gain: Floats, demand: Floats, budget: float) -> Floats:
    """Splits the budget over groups in proportion to demand × largest possible gain.

    The excess over a group's bound (MAX_GROUP_SHARE) is distributed to the others in the same way.
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
    """Draws distinct regions to try for each group, with probabilities proportional to gain².

    `chance` is uniform in [0, 1), groups × CANDIDATES; the result has the same shape, with −1 where
    no further region has a gain. Drawing, instead of taking the best region, lets the clients of
    one cell explore several regions at the same time.
    """
    odds, drawn = gain**2, np.empty(chance.shape, dtype=np.int64)
    for nth, at in enumerate(chance.T):
        total = np.cumsum(odds, axis=1)
        region = (total <= (at * total[:, -1])[:, None]).sum(axis=1)
        drawn[:, nth] = np.where(total[:, -1] > 0, np.minimum(region, odds.shape[1] - 1), -1)
        np.put_along_axis(odds, np.maximum(drawn[:, nth], 0)[:, None], 0.0, axis=1)
    return drawn
