"""Finds the client behind reverse proxies, from Forwarded (RFC 7239) or X-Forwarded-For.

Only the peer's address is certain. Each trusted proxy has appended the address of the hop before
it, so entries are followed from right to left; the first address that is not a trusted proxy is the
client. Entries further left are the client's own claim and are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firsthop_allocator.allocations.addresses import parse_host
from firsthop_geodata.addresses import Address, Network

MAX_HOPS = 16
"""Maximum number of proxies in a row; a longer chain is a loop or an attack."""
MAX_FIELD_LENGTH = 8192
"""Maximum octets of a field, all its lines together; a longer one is refused."""


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 §5.6.2
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"'
_PAIR = re.compile(rf"({_TOKEN})=(?:({_TOKEN})|{_QUOTED})")
_SEPARATOR = re.compile(r"[ \t]*([;,])[ \t]*|\Z")
_NODE = re.compile(  # RFC 7239 §6, and bare IPv6 as X-Forwarded-For has it
    r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?|([0-9A-Fa-f:.]+)"
)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A field that cannot be used: its name, and the rule that it breaks."""

    field: str
    rule: str


def client_behind(
    peer: Address,
    *,
    forwarded: Sequence[str],
    x_forwarded_for: Sequence[str],
    trusted: Sequence[Network],
) -> tuple[Address, str] | Malformed:
    """The client's address, and its source: `peer`, `forwarded` or `x-forwarded-for`.

    Field lines are in the order of the message. If both fields are present, they must give the same
    address: a proxy that writes one of them passes on whatever the client wrote into the other.
    """
    if not _is_trusted(peer, trusted):
        return peer, "peer"
    addresses: dict[str, Address] = {}
    for field, lines in (("forwarded", forwarded), ("x-forwarded-for", x_forwarded_for)):
        if lines:
            found = _walk(field, ",".join(lines), trusted)
            if isinstance(found, Malformed):
                return found
            if found is not None:
                addresses[field] = found
    if len(set(addresses.values())) > 1:
        return Malformed("forwarded", "disagrees with x-forwarded-for")
    return next(((address, field) for field, address in addresses.items()), (peer, "peer"))


def _walk(field: str, text: str, trusted: Sequence[Network]) -> Address | Malformed | None:
    """The rightmost address that is not a trusted proxy, or the leftmost if all are; None if there
    is no entry."""
    if len(text) > MAX_FIELD_LENGTH:
        return Malformed(field, f"is longer than {MAX_FIELD_LENGTH} octets")
    entries = _forwarded(text) if field == "forwarded" else _listed(text)
    if entries is None:
        return Malformed(field, "does not follow RFC 7239 section 4")
    address = None
    for hop, entry in enumerate(reversed(entries)):
        address = _node(entry)
        if address is None:
            return Malformed(field, "an entry that leads to the client has no IP address")
        if not _is_trusted(address, trusted):
            return address
        if hop + 1 == MAX_HOPS:
            return Malformed(field, f"lists more than {MAX_HOPS} proxies")
    return address


def _listed(text: str) -> list[str]:
    return [entry for part in text.split(",") if (entry := part.strip(" \t"))]


def _forwarded(text: str) -> list[str] | None:
    """The `for` parameter of every element, "" if it has none; None if the syntax is wrong."""
    nodes: list[str] = []
    for element in _elements(text):
        if element is None:
            return None
        if element:
            nodes.append(element.get("for", ""))
    return nodes


def _elements(text: str) -> Iterator[dict[str, str] | None]:
    """Yields each element as a map of its parameters, also empty elements (RFC 9110 §5.6.1.2). If
    the syntax is wrong, yields None and stops."""
    position, element = 0, dict[str, str]()
    text = text.strip(" \t")
    while True:
        pair = _PAIR.match(text, position)
        if pair is not None:
            name = pair[1].lower()
            if name in element:  # RFC 7239 §4: not more than once
                yield None
                return
            element[name] = pair[2] if pair[3] is None else re.sub(r"\\(.)", r"\1", pair[3])
            position = pair.end()
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            yield None
            return
        position = separator.end()
        if separator[1] != ";":
            yield element
            element = {}
        if separator[1] is None:
            return


def _node(entry: str) -> Address | None:
    match = _NODE.fullmatch(entry)
    if match is None:
        return None
    try:
        address = parse_host(match[1] or match[2] or match[3])
    except ValueError:
        return None
    return None if match[1] and ":" not in match[1] else address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == each.version and address in each for each in trusted)
