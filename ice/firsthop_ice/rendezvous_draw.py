"""Rendezvous draws of one bucket: the scalar variant without NumPy, for the relay's fast start.

`firsthop_steering.decision.rendezvous` computes the same for all buckets. A draw takes one or two
microseconds.
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


def draw(name: str, bucket: int) -> int:
    """The uniform 64-bit draw of `name` in bucket `bucket` (splitmix64 seeded by BLAKE2b)."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    z = seed + (bucket + 1) * STEP & MASK
    z = (z ^ z >> 30) * MIX_1 & MASK
    z = (z ^ z >> 27) * MIX_2 & MASK
    return z ^ z >> 31


def rendezvous_draw(name: str, weight: float, bucket: int) -> float:
    """The exponential draw of `name` in bucket `bucket`; see `rendezvous.rendezvous_draws`."""
    return -log(((draw(name, bucket) >> 11) + 0.5) / 2**53) / weight
