"""What clients pay of a region's price: the price less a relief, which their bucket draws.

So a group leaves a region little by little as its price rises, not all at once: any load can be
reached by prices alone, however large a single group is, and a small change of a price moves few.
A region without a price has no draws, so nothing is split for its sake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from firsthop_steering.arrays import Ints
from firsthop_steering.decision.rendezvous import BUCKETS, bucket_ranks
from firsthop_steering.feed.snapshot import Prices

RELIEF_MS = 3.0
"""Wide enough that a step of a price is a small share of it, and far below what makes an RTT
worse to anybody."""
LEVELS = 60
"""Reliefs that buckets draw, 17 or 18 buckets each. With steps of 50 µs many places share a split,
which the answer table stores once; with a relief of its own for each bucket every place had its
own."""
MAX_LEVEL = LEVELS - 1
_RELIEF_US = round(RELIEF_MS * 1000)


@lru_cache(maxsize=4096)
def relief_levels(region: str) -> Ints:
    """For each bucket 0 to 59: the sixtieths of the relief that it is spared, by name alone.

    The order of buckets is another than the one that weights keep by, or that breaks ties: a
    region of weight 50 keeps half of those whom its price leaves.
    """
    return bucket_ranks(f"relief of {region}") * LEVELS // BUCKETS


def charged_us(price_us: int, level: int) -> int:
    """What is added to the score of a client with this level: the price itself at level 0."""
    return price_us - min(price_us, _RELIEF_US) * level // LEVELS


def charges_us(region: str, price_us: int) -> Ints:
    """The same for every bucket."""
    return price_us - min(price_us, _RELIEF_US) * relief_levels(region) // LEVELS


def prices_in_force(
    prices: Prices | None, regions: Sequence[str], lost: Sequence[str]
) -> tuple[int, ...]:
    """Microseconds for each of `regions` while no relay is up in those of `lost`.

    For the loss of one region the planner has prices ready; for that of several, and of those
    only which it knows, the highest of theirs and of the ordinary ones.
    """
    if prices is None:
        return (0,) * len(regions)
    rows: list[Mapping[str, float]] = [
        prices.without[each] for each in lost if each in prices.without
    ]
    if len(rows) != 1:
        rows.append(prices.now)
    return tuple(round(max(row.get(each, 0.0) for row in rows) * 1000) for each in regions)
