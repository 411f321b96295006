"""Addresses as table keys: IPv4 embedded in IPv6, special-purpose blocks, and scopes of answers.

Knows nothing of tables.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
IPVersion = Literal[4, 6]

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
"""First and last addresses (128-bit integers) of the IPv6 blocks looked up as IPv4; ascending."""

SPECIAL_PURPOSE: tuple[Network, ...] = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # between carrier and customer (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link local (RFC 3927)
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, and limited broadcast (RFC 1112, RFC 8190)
        "::/64",  # unspecified, loopback, IPv4-compatible (RFC 4291)
        "64:ff9b:1::/48",  # local-use NAT64 (RFC 8215)
        "100::/64",  # discard (RFC 6666)
        "2001:2::/48",  # benchmarks (RFC 5180)
        "5f00::/16",  # segment routing (RFC 9602)
        "fc00::/7",  # unique local (RFC 4193)
        "fe80::/10",  # link local (RFC 4291)
        "fec0::/10",  # site local (RFC 3879)
        "ff00::/8",  # multicast (RFC 4291)
    )
)
"""Blocks that contain no clients of the public internet (registries of RFC 6890), ascending.

Documentation prefixes are not included: examples and tests use them as real clients.
"""


def special_block(address: Address) -> Network | None:
    """The special-purpose block that contains the address, or the IPv4 address embedded in it."""
    family, key, _ = normalise(address)
    plain = IPv4Address(key) if family == 4 else IPv6Address(key << 64)
    return next((block for block in SPECIAL_PURPOSE if plain in block), None)


def normalise(address: Address) -> tuple[IPVersion, int, int]:
    """The table key of an address: (family, key, bits before it).

    IPv4 gives (4, 32-bit integer, 0). IPv6 with embedded IPv4 (v4-mapped, NAT64's well-known
    prefix, 6to4) gives (4, 32-bit integer, number of bits before the IPv4 address). Other IPv6
    gives (6, top 64 bits, 0); if its /64 contains a block that is looked up as IPv4, the last
    number is instead the number of bits by which a scope of 64 must be extended to exclude it.
    """
    if isinstance(address, IPv4Address):
        return 4, int(address), 0
    value = int(address)
    if value >> 112 == SIX_TO_FOUR:
        return 4, value >> 80 & 0xFFFFFFFF, 16
    for block in (V4_MAPPED, NAT64):
        if value >> 32 == block:
            return 4, value & 0xFFFFFFFF, 96
        if value >> 64 == block >> 32:
            return 6, value >> 64, 65 - (value ^ block << 32).bit_length()
    return 6, value >> 64, 0


def prefix_length(value: int, first: int, last: int, bits: int) -> int:
    """The length of the shortest prefix of ``value`` whose block lies within first..last.

    All are numbers of ``bits`` bits with ``first <= value <= last``. The single address always
    qualifies, so the result is at most ``bits``.
    """
    low = (value ^ (first - 1)).bit_length() if first else bits + 1
    high = (value ^ (last + 1)).bit_length() if last + 1 < 1 << bits else bits + 1
    return bits + 1 - min(low, high)


def around_embedded(value: int, first: int, last: int) -> tuple[int, int]:
    """Narrow a 128-bit range around ``value`` so that it excludes all blocks looked up as IPv4.

    ``value`` itself must not lie in one (see :func:`normalise`).
    """
    for hole_first, hole_last in EMBEDDED_V4:
        if hole_last < value:
            first = max(first, hole_last + 1)
        elif value < hole_first:
            last = min(last, hole_first - 1)
    return first, last
