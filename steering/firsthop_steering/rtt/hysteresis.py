"""Hysteresis of a group's order of regions, so that it does not follow every small change.

The measured order of a pair replaces its order by the prior once it is certain enough. After that,
a region passes another only if it is better by max(5 ms, 10 %) in two rounds. So each pair changes
once because of better knowledge, and later only because of a real change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints, Mask

MARGIN_MS = 5.0
MARGIN_SHARE = 0.1
CERTAIN = 1.0
"""Standard deviations by which a difference must exceed 0; this is wrong in one case of twenty."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of regions of each group, best first, with the estimates of the last round."""

    held: Ints
    rtt_ms: Floats
    """The last round's estimates, by region."""
    settled: Mask
    """Groups × regions × regions: whether the pair changed its order because of measurements. One
    byte each: 12.5 MB for 5,000 groups and 50 regions."""


def first_order(rtt_ms: Floats) -> Order:
    """The order by estimates alone; ties go to the lower index."""
    groups, regions = rtt_ms.shape
    held = np.argsort(rtt_ms, axis=1, kind="stable")
    return Order(held, rtt_ms, np.zeros((groups, regions, regions), dtype=bool))


def reorder(order: Order, rtt_ms: Floats, deviation_ms: Floats) -> Order:
    """The order after a round: adjacent regions are swapped until no swap is allowed."""
    held, settled = order.held.copy(), order.settled.copy()
    quiet, turn = 0, 0
    while quiet < 2 and held.shape[1] > 1:
        left = np.arange(turn % 2, held.shape[1] - 1, 2)
        rows, pair = np.nonzero(_passes(order.rtt_ms, rtt_ms, deviation_ms, settled, held, left))
        first, second = left[pair], left[pair] + 1
        ahead, behind = held[rows, first], held[rows, second]
        held[rows, first], held[rows, second] = behind, ahead
        settled[rows, ahead, behind] = settled[rows, behind, ahead] = True
        quiet = 0 if len(rows) else quiet + 1
        turn += 1
    return Order(held, rtt_ms, settled)


def _passes(
    before: Floats, now: Floats, deviation: Floats, settled: Mask, held: Ints, left: Ints
) -> Mask:
    """Whether the region after each position in `left` passes it: better in both rounds."""
    ahead, behind = held[:, left], held[:, left + 1]
    rows = np.arange(len(held))[:, None]
    gain = np.minimum(
        now[rows, ahead] - now[rows, behind], before[rows, ahead] - before[rows, behind]
    )
    doubt = np.hypot(deviation[rows, ahead], deviation[rows, behind])
    margin = np.maximum(MARGIN_MS, MARGIN_SHARE * now[rows, ahead])
    first = ~settled[rows, ahead, behind] & (gain > CERTAIN * doubt)
    return (gain > margin) | first


def published_ms(order: Order) -> Floats:
    """Estimates consistent with the order: ascending along it, groups × regions.

    A region that is better, but not by enough to pass, gets the RTT of the region before it.
    """
    ranked = np.maximum.accumulate(np.take_along_axis(order.rtt_ms, order.held, axis=1), axis=1)
    result = np.empty_like(ranked)
    np.put_along_axis(result, order.held, ranked, axis=1)
    return result
