"""Requester addresses and client subnets as keys of the answer table.

It applies the rules of `firsthop_geodata.addresses.normalise` to octets, which needs no address
objects per query.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from socket import AF_INET6, inet_aton, inet_pton
from typing import Literal

from firsthop_dns.wire.edns import Subnet
from firsthop_geodata.addresses import normalise

UDP4, UDP6, TCP4, TCP6 = range(4)
"""Transport and family of a query, in the order of `counters.TRANSPORTS`."""
TransportKind = int

PeerAddress = tuple[str, int] | tuple[str, int, int, int]
"""The address of a requester as `socket.recvfrom` returns it."""
ClientKey = tuple[Literal[4, 6], int, int]
"""Family and key for `ServiceTable.lookup`, and the bits to add to the scope (`normalise`)."""

_SIX_TO_FOUR = b"\x20\x02"
_V4_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = b"\x00\x64\xff\x9b" + bytes(8)
_SHARED = (0, 0x0064_FF9B << 32)
"""Keys of /64s that contain both addresses with embedded IPv4 and others."""


def key_of_subnet(subnet: Subnet) -> ClientKey:
    """The key of a subnet of family 1 or 2; its address is padded with zeros."""
    if subnet.family == 1:
        return 4, int.from_bytes(subnet.address.ljust(4, b"\0"), "big"), 0
    return _key_of_ipv6(subnet.address.ljust(16, b"\0"))


def key_of_peer(peer: PeerAddress, transport: TransportKind) -> ClientKey:
    """The key of the sender of a packet, usually a resolver."""
    if transport in (UDP4, TCP4):
        return 4, int.from_bytes(inet_aton(peer[0]), "big"), 0
    return _key_of_ipv6(inet_pton(AF_INET6, peer[0].partition("%")[0]))


def _key_of_ipv6(octets: bytes) -> ClientKey:
    if octets[:2] == _SIX_TO_FOUR:  # RFC 3056 §2
        return 4, int.from_bytes(octets[2:6], "big"), 16
    if octets[:12] in (_V4_MAPPED, _NAT64):  # RFC 4291 §2.5.5.2, RFC 6052 §2.1
        return 4, int.from_bytes(octets[12:], "big"), 96
    key = int.from_bytes(octets[:8], "big")
    if key in _SHARED:
        return normalise(IPv6Address(octets))
    return 6, key, 0
