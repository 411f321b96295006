"""Rendezvous hashing: which clients a weight keeps, and which of several relays a client gets.

A client's prefix (IPv4 /24, IPv6 /48) is hashed into one of 1,024 buckets. Every region and relay
has its own pseudo-random order of the buckets, derived from its name alone. A change of one weight
therefore moves only clients of that region or relay, and the same clients on every edge (highest
random weight, Thaler and Ravishankar 1998).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from firsthop_ice.rendezvous_draw import BUCKETS as BUCKETS
from firsthop_ice.rendezvous_draw import MASK, MIX_1, MIX_2, STEP

_ODD = 0xD1342543DE82EF95


def bucket(family: int, key: int) -> int:
    """The bucket of a client: `key` is an IPv4 address or the top 64 bits of an IPv6 address."""
    prefix = key >> 8 if family == 4 else (key >> 16) + (1 << 48)
    mixed = prefix * STEP & MASK
    return ((mixed ^ mixed >> 32) * _ODD & MASK) >> 54


@lru_cache(maxsize=4096)
def draws(name: str) -> npt.NDArray[np.uint64]:
    """1,024 uniform 64-bit draws of `name`, one per bucket (splitmix64 seeded by BLAKE2b)."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    steps = np.arange(1, BUCKETS + 1, dtype=np.uint64) * np.uint64(STEP)
    z = steps + np.uint64(seed)
    z = (z ^ z >> np.uint64(30)) * np.uint64(MIX_1)
    z = (z ^ z >> np.uint64(27)) * np.uint64(MIX_2)
    return z ^ z >> np.uint64(31)


def tie_draws(name: str) -> npt.NDArray[np.uint64]:
    """Draws that break ties between equal scores, lowest first.

    They are independent of the draws for weights. With the same draws a region would come first in
    exactly those buckets that its weight keeps, and at half the weight it would lose a quarter of
    its clients instead of half.
    """
    return draws(f"tie of {name}")


@lru_cache(maxsize=4096)
def bucket_ranks(name: str) -> npt.NDArray[np.int64]:
    """The rank (0 to 1,023) of each bucket in the order of `name`."""
    ranks = np.empty(BUCKETS, dtype=np.int64)
    ranks[np.argsort(draws(name), kind="stable")] = np.arange(BUCKETS)
    return ranks


@lru_cache(maxsize=4096)
def kept_buckets(name: str, weight: int) -> npt.NDArray[np.bool_]:
    """Mask of the buckets that `name` keeps if its weight is `weight` per cent.

    A higher weight only adds buckets.
    """
    return bucket_ranks(name) * 100 < weight * BUCKETS


@lru_cache(maxsize=16384)
def rendezvous_draws(name: str, weight: float) -> npt.NDArray[np.float64]:
    """For each bucket an exponential draw of rate `weight`; the lowest draw of a bucket wins.

    P(`name` wins) = weight / sum of weights.
    """
    uniform = ((draws(name) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return -np.log(uniform) / weight
