"""Addresses that no client could use, so that no relay or transceiver has them. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

UNUSABLE = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "is of no host (RFC 1122 §3.2.1.3)"),
        ("169.254.0.0/16", "is link-local (RFC 3927)"),
        ("224.0.0.0/4", "is multicast (RFC 5771)"),
        ("240.0.0.0/4", "is reserved or broadcast (RFC 1112 §4)"),
        ("::ffff:0:0/96", "contains an IPv4 address (RFC 4291 §2.5.5); give that one"),
        ("::/96", "is unspecified, or contains an IPv4 address (RFC 4291 §2.5)"),
        ("64:ff9b::/96", "contains an IPv4 address (NAT64, RFC 6052); give that one"),
        ("64:ff9b:1::/48", "may contain an IPv4 address (NAT64, RFC 8215)"),
        ("100::/64", "is discarded (RFC 6666)"),
        ("2001::/32", "contains an IPv4 address (Teredo, RFC 4380)"),
        ("2002::/16", "contains an IPv4 address (6to4, RFC 3056)"),
        ("fe80::/10", "is link-local (RFC 4291 §2.5.6)"),
        ("fec0::/10", "is site-local (RFC 3879)"),
        ("ff00::/8", "is multicast (RFC 4291 §2.7)"),
    )
)
"""Networks in which no client could use an address, and why."""


def unusable(address: IPv4Address | IPv6Address, *, allow_loopback: bool) -> str | None:
    """Why no client could use `address`; None if one could.

    Private (RFC 1918, RFC 4193) and documentation networks may be used: clients may be there too.
    """
    if address.is_loopback:
        return None if allow_loopback else "is loopback, which --allow-loopback permits"
    if isinstance(address, IPv6Address) and address.scope_id:
        return "has a scope id, which only means something on one host"
    return next((why for network, why in UNUSABLE if address in network), None)
