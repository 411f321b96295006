"""The part of a region's price that a client pays: the price less a relief drawn by its bucket.

The relief makes a group of clients leave a region gradually as the price rises instead of all at
once, so prices alone can reach any load however large one group is, and a small change of a price
moves few clients. A region without a price has no relief and splits no range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from firsthop_steering.arrays import Ints
from firsthop_steering.decision.rendezvous import BUCKETS, bucket_ranks
from firsthop_steering.feed.snapshot import Prices

RELIEF_MS = 3.0
"""The largest relief. Large compared with one price step, small compared with an RTT difference
that users notice."""
LEVELS = 60
"""Number of distinct reliefs; each is drawn by 17 or 18 buckets. With steps of 50 µs many locations
share one split, which the answer table stores once; a distinct relief per bucket would give almost
every location a split of its own."""
MAX_LEVEL = LEVELS - 1
_RELIEF_US = round(RELIEF_MS * 1000)


@lru_cache(maxsize=4096)
def relief_levels(region: str) -> Ints:
    """For each bucket its relief in sixtieths (0 to 59), derived from the region's name alone.

    The order of buckets is independent of those for weights and ties, so a region of weight 50
    keeps half of the clients that its price does not drive away.
    """
    return bucket_ranks(f"relief of {region}") * LEVELS // BUCKETS


def charged_us(price_us: int, level: int) -> int:
    """What a client with this relief level pays, in microseconds; level 0 pays the full price."""
    return price_us - min(price_us, _RELIEF_US) * level // LEVELS


def charges_us(region: str, price_us: int) -> Ints:
    """`charged_us` for every bucket: 1,024 numbers."""
    return price_us - min(price_us, _RELIEF_US) * relief_levels(region) // LEVELS


def prices_in_force(
    prices: Prices | None, regions: Sequence[str], lost: Sequence[str]
) -> tuple[int, ...]:
    """The price of each of `regions`, in microseconds, while those in `lost` have no relay up.

    If one region is lost and the planner has prepared prices for that loss, those apply. Otherwise
    each region has the highest of its ordinary price and the prepared prices of the lost regions.
    """
    if prices is None:
        return (0,) * len(regions)
    rows: list[Mapping[str, float]] = [
        prices.without[each] for each in lost if each in prices.without
    ]
    if len(rows) != 1:
        rows.append(prices.now)
    return tuple(round(max(row.get(each, 0.0) for row in rows) * 1000) for each in regions)
