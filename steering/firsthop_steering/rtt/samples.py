"""RTT samples as arrays, and the numbers of prefixes (/24 and /48)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys

REGION_BITS = 10
MAX_REGIONS = 1 << REGION_BITS
MIN_RTT_MS, MAX_RTT_MS = 0.05, 5000.0
"""Values outside these bounds are errors of a clock or unit, not RTTs between hosts on Earth."""
_FAMILY_6 = 1 << 48
PREFIX_LIMIT = _FAMILY_6 << 1
"""Larger than every prefix number."""


def prefix_of(family: int, key: int) -> int:
    """The number of the /24 or /48 that contains a key (IPv4 address, or top 64 bits of IPv6)."""
    return key >> 8 if family == 4 else _FAMILY_6 | key >> 16


def parse_prefix(text: str) -> int:
    """The number of the prefix in `text`, an IPv4 /24 or an IPv6 /48 without host bits.

    Raises ValueError for anything else.
    """
    try:
        if ":" in text:
            six = IPv6Network(text)
            if six.prefixlen == 48:
                return prefix_of(6, int(six.network_address) >> 64)
        else:
            four = IPv4Network(text)
            if four.prefixlen == 24:
                return prefix_of(4, int(four.network_address))
    except ValueError:
        pass
    raise ValueError(f"{text!r} must be an IPv4 /24 or an IPv6 /48")


def keys_of_prefixes(prefixes: Keys, family: int) -> tuple[npt.NDArray[np.bool_], Keys]:
    """Mask of the prefixes of `family`, and the first key of each of those."""
    six = prefixes >= np.uint64(_FAMILY_6)
    if family == 4:
        return ~six, prefixes[~six] << np.uint64(8)
    return six, (prefixes[six] & np.uint64(_FAMILY_6 - 1)) << np.uint64(16)


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch as parallel arrays; `sources` are numbers of `firsthop_steering.rtt.sources`."""

    prefixes: Keys
    regions: Ints
    sources: Ints
    rtt_ms: Floats

    def __len__(self) -> int:
        return len(self.rtt_ms)

    def take(self, which: npt.NDArray[np.bool_]) -> Samples:
        """The samples of a mask."""
        return Samples(
            self.prefixes[which], self.regions[which], self.sources[which], self.rtt_ms[which]
        )

    @property
    def keys(self) -> Keys:
        """Prefix and region packed into one number that sorts by prefix first."""
        return self.prefixes << np.uint64(REGION_BITS) | self.regions.astype(np.uint64)
