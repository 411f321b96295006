"""One entrant's arrival in one bucket's race: what `rendezvous` works out for all buckets at once.

For who asks seldom and starts often (a relay): it takes a microsecond or two, and no numpy.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log
from typing import Final

BUCKETS: Final = 1024
MASK: Final = 2**64 - 1
STEP: Final = 0x9E3779B97F4A7C15
MIX_1: Final = 0xBF58476D1CE4E5B9
MIX_2: Final = 0x94D049BB133111EB


def draw(name: str, spot: int) -> int:
    """The uniform 64-bit draw of `name` in one bucket (splitmix64 from a BLAKE2b seed)."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    z = seed + (spot + 1) * STEP & MASK
    z = (z ^ z >> 30) * MIX_1 & MASK
    z = (z ^ z >> 27) * MIX_2 & MASK
    return z ^ z >> 31


def arrival(name: str, weight: float, spot: int) -> float:
    """Arrival time of `name` in the race of bucket `spot`; see `rendezvous.rendezvous_draws`."""
    return -log(((draw(name, spot) >> 11) + 0.5) / 2**53) / weight
