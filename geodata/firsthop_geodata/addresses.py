"""Addresses as table keys: IPv4 hidden in IPv6 made plain, and the block an answer holds for.

Pure integer arithmetic; knows nothing of any table.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Address = IPv4Address | IPv6Address
Family = Literal[4, 6]

V4_MAPPED = 0xFFFF
"""The top 96 bits of ::ffff:0:0/96 (RFC 4291 section 2.5.5.2)."""
NAT64 = 0x64FF9B << 64
"""The top 96 bits of 64:ff9b::/96 (RFC 6052 section 2.1)."""
SIX_TO_FOUR = 0x2002
"""The top 16 bits of 2002::/16 (RFC 3056 section 2)."""

EMBEDDED_V4: tuple[tuple[int, int], ...] = (
    (V4_MAPPED << 32, (V4_MAPPED + 1 << 32) - 1),
    (NAT64 << 32, (NAT64 + 1 << 32) - 1),
    (SIX_TO_FOUR << 112, (SIX_TO_FOUR + 1 << 112) - 1),
)
"""First and last address, as 128-bit integers, of the IPv6 blocks answered as IPv4; ascending."""


def normalise(address: Address) -> tuple[Family, int, int]:
    """The table key of an address: (family, key, embedded bits).

    IPv4 gives (4, 32-bit integer, 0). IPv6 that carries IPv4 (v4-mapped, NAT64's well-known
    prefix, 6to4) gives (4, 32-bit integer, bits before the IPv4 address). Any other IPv6 gives
    (6, top 64 bits, 0).
    """
    if isinstance(address, IPv4Address):
        return 4, int(address), 0
    value = int(address)
    if value >> 112 == SIX_TO_FOUR:
        return 4, value >> 80 & 0xFFFFFFFF, 16
    if value >> 32 in (V4_MAPPED, NAT64):
        return 4, value & 0xFFFFFFFF, 96
    return 6, value >> 64, 0


def prefix_length(value: int, first: int, last: int, bits: int) -> int:
    """The length of the shortest prefix of ``value`` whose whole block lies in first..last.

    All four are plain numbers of ``bits`` bits with ``first <= value <= last``; at least the
    single address qualifies, so the result is at most ``bits``.
    """
    low = (value ^ (first - 1)).bit_length() if first else bits + 1
    high = (value ^ (last + 1)).bit_length() if last + 1 < 1 << bits else bits + 1
    return bits + 1 - min(low, high)


def around_embedded(value: int, first: int, last: int) -> tuple[int, int]:
    """Narrow a 128-bit range around ``value`` so that it holds no block answered as IPv4.

    ``value`` itself must not lie in one (see :func:`normalise`).
    """
    for hole_first, hole_last in EMBEDDED_V4:
        if hole_last < value:
            first = max(first, hole_last + 1)
        elif value < hole_first:
            last = min(last, hole_first - 1)
    return first, last
