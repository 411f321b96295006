"""Client addresses: parses unicast addresses, and gives each address its one canonical form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from firsthop_geodata.addresses import Address

RULE = "must be the IPv4 or IPv6 address of one host"
MAX_LENGTH = 45
"""Characters of the longest spelling: IPv6 that ends in dotted IPv4."""


def plain(address: Address) -> Address:
    """The same address without scope id; as IPv4 if it is IPv4-mapped (::ffff:0:0/96)."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or (IPv6Address(int(address)) if address.scope_id else address)


def parse_host(text: str) -> Address:
    """The address in `text`. Raises ValueError unless it is the address of one unicast host.

    Prefixes, scope ids, ::, 0.0.0.0 and multicast are refused, as no client has such an address.
    """
    try:
        if len(text) > MAX_LENGTH or "%" in text:
            raise ValueError(RULE)
        address = plain(ip_address(text))
    except ValueError:
        raise ValueError(RULE) from None
    value = int(address)
    multicast = value >> 28 == 0xE if address.version == 4 else value >> 120 == 0xFF
    if value == 0 or multicast:
        raise ValueError(RULE)
    return address
