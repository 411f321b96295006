"""What must not enter the configuration, though a stored document with it stays readable: addresses
that no client could use, and control characters in names and notes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from firsthop_steering.plan.document import Document
from firsthop_zones.faults import DocumentFault
from firsthop_zones.visible import CONTROL, visible_lines

_Address = IPv4Address | IPv6Address
_UNUSABLE = tuple(
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


def unusable(address: _Address, *, allow_loopback: bool) -> str | None:
    """Why no client could use `address`; None if one could.

    Private (RFC 1918, RFC 4193) and documentation networks may be used: clients may be there too.
    """
    if address.is_loopback:
        return None if allow_loopback else "is loopback, which --allow-loopback permits"
    if isinstance(address, IPv6Address) and address.scope_id:
        return "has a scope id, which only means something on one host"
    return next((why for network, why in _UNUSABLE if address in network), None)


def admission_problems(document: Document, *, allow_loopback: bool) -> Iterator[DocumentFault]:
    """What must not enter the configuration in `document`."""
    for field, address in _addresses(document):
        why = unusable(address, allow_loopback=allow_loopback)
        if why is not None:
            yield DocumentFault(field, f"no client could use {address}: it {why}")
    for field, text in _lines(document):
        if CONTROL.search(text):
            yield DocumentFault(field, "must be one line without control characters")
    for field, text in _notes(document):
        if visible_lines(text) != text:
            yield DocumentFault(field, "must have no control characters but line feeds and tabs")


def _addresses(document: Document) -> Iterator[tuple[str, _Address]]:
    configured: list[tuple[str, _Address | None]] = []
    for relay in document.relays:
        configured += [(f"relays/{relay.id}/ipv4", relay.ipv4)]
        configured += [(f"relays/{relay.id}/ipv6", relay.ipv6)]
    for each in document.transceivers:
        for name in ("host", "signalling_ipv4", "signalling_ipv6"):
            configured.append((f"transceivers/{each.id}/{name}", getattr(each, name)))
    for service in document.services:
        for index, address in enumerate(service.fallback):
            configured.append((f"services/{service.id}/fallback/{index}", address))
    return ((field, address) for field, address in configured if address is not None)


def _lines(document: Document) -> Iterator[tuple[str, str]]:
    for region in document.regions:
        yield f"regions/{region.id}/name", region.name
    for relay in document.relays:
        yield f"relays/{relay.id}/failure_domain", relay.failure_domain or ""


def _notes(document: Document) -> Iterator[tuple[str, str]]:
    for relay in document.relays:
        if relay.forced is not None:
            yield f"relays/{relay.id}/forced/note", relay.forced.note
    for override in document.overrides:
        yield f"overrides/{override.id}/note", override.note
