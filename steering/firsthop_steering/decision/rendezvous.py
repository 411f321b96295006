"""Stable draws: which clients a weight keeps, and which relay of several a client gets.

Clients are told apart by their prefix (IPv4 /24, IPv6 /48), folded into 1,024 buckets. Every region
and relay has its own pseudo-random order of the buckets, drawn from its name alone; so a change of
one weight moves only the clients of that one, the same ones on every edge (highest random weight,
Thaler and Ravishankar 1998).
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
    """1,024 uniform 64-bit draws of `name`, one a bucket (splitmix64 from a BLAKE2b seed)."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    steps = np.arange(1, BUCKETS + 1, dtype=np.uint64) * np.uint64(STEP)
    z = steps + np.uint64(seed)
    z = (z ^ z >> np.uint64(30)) * np.uint64(MIX_1)
    z = (z ^ z >> np.uint64(27)) * np.uint64(MIX_2)
    return z ^ z >> np.uint64(31)


def tie_draws(name: str) -> npt.NDArray[np.uint64]:
    """Draws that decide between equal scores, the lower first; apart from those of weights.

    By one and the same draw a region would be the first of just those buckets that its weight
    keeps, and at half the weight it would lose a quarter of its clients instead of a half.
    """
    return draws(f"tie of {name}")


@lru_cache(maxsize=4096)
def bucket_ranks(name: str) -> npt.NDArray[np.int64]:
    """The place of each bucket (0 to 1,023) in the order of `name`."""
    place = np.empty(BUCKETS, dtype=np.int64)
    place[np.argsort(draws(name), kind="stable")] = np.arange(BUCKETS)
    return place


@lru_cache(maxsize=4096)
def kept_buckets(name: str, weight: int) -> npt.NDArray[np.bool_]:
    """Which buckets `name` keeps at `weight` per cent; raising the weight only adds buckets."""
    return bucket_ranks(name) * 100 < weight * BUCKETS


@lru_cache(maxsize=16384)
def rendezvous_draws(name: str, weight: float) -> npt.NDArray[np.float64]:
    """Arrival time of `name` in each bucket's race; the first wins in proportion to its weight.

    Exponential draws of rate `weight`: P(first) = weight / sum of weights.
    """
    uniform = ((draws(name) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return -np.log(uniform) / weight
