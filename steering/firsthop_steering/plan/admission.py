"""What must not enter the configuration, though a stored document with it stays readable: addresses
that no client could use, countries that do not exist, control characters in names and notes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from firsthop_steering.plan.addresses import unusable
from firsthop_steering.plan.countries import country_fault
from firsthop_steering.plan.document import Document
from firsthop_zones.faults import DocumentFault
from firsthop_zones.visible import CONTROL, visible_lines

_Address = IPv4Address | IPv6Address


def admission_problems(document: Document, *, allow_loopback: bool) -> Iterator[DocumentFault]:
    """What must not enter the configuration in `document`."""
    for field, address in _addresses(document):
        why = unusable(address, allow_loopback=allow_loopback)
        if why is not None:
            yield DocumentFault(field, f"no client could use {address}: it {why}")
    for override in document.overrides:
        fault = country_fault(override.country) if override.country else None
        if fault is not None:
            yield DocumentFault(f"overrides/{override.id}/country", fault)
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
