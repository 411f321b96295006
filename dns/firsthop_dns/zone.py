"""Zones and steered answers, encoded once for every worker when a table is compiled.

What depends on the plan alone (`static_zones`) may be kept while only health changes; what a
change of health moves are the services' RRsets. CNAME chains are followed here, not per query.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol
from zlib import crc32

from firsthop_dns.edns import NOERROR, NXDOMAIN
from firsthop_dns.layout import (
    ANSWERS,
    BODY,
    HEAD,
    MAGIC,
    NODE,
    OTHER_TYPES,
    PIECE,
    STATIC,
    STATIC_AT,
    TYPE,
    WHOAMI,
    ZONE,
)
from firsthop_dns.names import depth, to_wire, within
from firsthop_dns.rrset import (
    Body,
    BodyWriter,
    RRset,
    ZoneError,
    address_rrset,
    name_servers,
    plain_body,
    rrsets,
    start_of_authority,
)
from firsthop_dns.wire import CNAME, IN, SOA
from firsthop_steering.document import Document, zone_of
from firsthop_steering.model import Record, Zone
from firsthop_steering.rdata import domain_name

__all__ = ["LONGEST_CHAIN", "WHOAMI_LABEL", "ZoneError", "encode_zones", "static_zones"]

LONGEST_CHAIN = 8
"""CNAMEs put into one answer; a resolver asks on from the last."""
WHOAMI_LABEL = "whoami"


class _Answer(Protocol):
    @property
    def ipv4(self) -> tuple[IPv4Address, ...]: ...
    @property
    def ipv6(self) -> tuple[IPv6Address, ...]: ...
    @property
    def ttl(self) -> int: ...


class SteeredService(Protocol):
    """What is needed of a service here; `CompiledService` and `ServiceTable` have it."""

    @property
    def name(self) -> str: ...
    @property
    def answers(self) -> Sequence[_Answer]: ...


@dataclass(slots=True)
class _Node:
    """A name that exists: with records, steered, told by whoami, or only because of names below."""

    zone: int
    service: int | None = None
    whoami: bool = False
    rrsets: list[RRset] = field(default_factory=list)
    target: str | None = None
    """Where its CNAME points, if it has one; then it has nothing else."""


def encode_zones(
    document: Document,
    serial: int,
    services: Sequence[SteeredService],
    *,
    static: bytes | None = None,
) -> bytes:
    """The section `dns` of a table file.

    `services` come in the document's order, which is that of the table. `static` is what
    `static_zones` gave for the same document and serial, if the caller kept it. Raises ZoneError
    when records do not fit a message.
    """
    if [each.name for each in services] != [each.name for each in document.services]:
        raise ValueError("the services are not the document's, in its order")
    part = static_zones(document, serial) if static is None else static
    head = HEAD.pack(MAGIC, len(part)).ljust(STATIC_AT, b"\0")
    return head + part + _answers(services)


def static_zones(document: Document, serial: int) -> bytes:
    """The static part of the section: every name of every zone with its answers."""
    serial &= 0xFFFFFFFF  # RFC 1982: serials wrap
    nodes = _nodes(document, serial)
    heap = _Heap(document, serial, nodes)
    zones = [heap.zone(zone) for zone in document.zones]
    wires = {name: to_wire(name) for name in nodes}
    places = {name: heap.node(name, wires[name], node) for name, node in nodes.items()}
    services = [places[service.name] for service in document.services]
    hashed = sorted((crc32(wires[name]), place) for name, place in places.items())
    deepest = max(map(depth, wires.values()), default=0)
    counts = STATIC.pack(len(zones), len(services), len(hashed), deepest)
    start = len(counts) + 4 * (len(zones) + len(services) + 2 * len(hashed))
    tables = [
        *(start + place for place in (*zones, *services)),
        *(number for number, _ in hashed),
        *(start + place for _, place in hashed),
    ]
    return counts + struct.pack(f"<{len(tables)}I", *tables) + heap.octets(start)


def _answers(services: Sequence[SteeredService]) -> bytes:
    firsts, ends, blob = [0], [0], bytearray()
    for service in services:
        for answer in service.answers:
            for addresses in (answer.ipv4, answer.ipv6):
                blob += address_rrset(addresses, answer.ttl)
                ends.append(len(blob))
        firsts.append(firsts[-1] + len(service.answers))
    counts = ANSWERS.pack(len(services), firsts[-1])
    return counts + struct.pack(f"<{len(firsts) + len(ends)}I", *firsts, *ends) + blob


def _nodes(document: Document, serial: int) -> dict[str, _Node]:
    """Every name that exists; the name above one that exists does too (RFC 4592 §2.2.2)."""
    apexes = {zone.apex: index for index, zone in enumerate(document.zones)}
    nodes = {apex: _Node(index) for apex, index in apexes.items()}
    owners: dict[str, list[Record]] = {}
    for zone in document.zones:
        for record in zone.records:
            owners.setdefault(record.owner, []).append(record)
    for service in document.services:
        if zone_of(service.name, apexes) is None:
            raise ZoneError(f"{service.name}: the service lies outside every zone")
    for name in [*owners, *(service.name for service in document.services)]:
        _add(nodes, name, apexes)
    for apex in apexes:  # a zone inside a zone makes the names between the two
        if apex != "." and zone_of(_above(apex), apexes) is not None:
            _add(nodes, _above(apex), apexes)
    for owner, records in owners.items():
        if owner in nodes:
            nodes[owner].rrsets = rrsets(records)
            aliases = [each.rdata for each in records if each.type == "CNAME"]
            nodes[owner].target = domain_name(aliases[0].strip()) if aliases else None
    for place, service in enumerate(document.services):
        nodes[service.name].service = place
    for zone in document.zones:
        start = start_of_authority(zone, serial)
        nodes[zone.apex].rrsets += [start, name_servers(zone)]
        _add_whoami(nodes, zone.apex, apexes)
    return nodes


def _above(name: str) -> str:
    return name.partition(".")[2] or "."


def _add(nodes: dict[str, _Node], name: str, apexes: dict[str, int]) -> None:
    apex = zone_of(name, apexes)
    while apex is not None and name not in nodes:
        nodes[name] = _Node(apexes[apex])
        name = _above(name)


def _add_whoami(nodes: dict[str, _Node], apex: str, apexes: dict[str, int]) -> None:
    """The name that tells askers how they are seen, unless the zone says something there itself."""
    name = f"{WHOAMI_LABEL}.{apex.removeprefix('.')}"
    if len(name) > 253:
        return
    node = nodes.setdefault(name, _Node(apexes[apex]))
    node.whoami = not node.rrsets and node.service is None and name not in apexes


class _Heap:
    """Lays out zones, nodes and bodies one behind the other; places count from its start."""

    def __init__(self, document: Document, serial: int, nodes: dict[str, _Node]) -> None:
        self._zones = document.zones
        self._serial = serial
        self._nodes = nodes
        self._apexes = [zone.apex for zone in document.zones]
        self._chunks: list[bytes | list[tuple[int, int]]] = []
        self._size = 0

    def octets(self, start: int) -> bytes:
        """All of it; the places of bodies are made to count from `start` octets before it."""
        return b"".join(
            chunk
            if isinstance(chunk, bytes)
            else b"".join(TYPE.pack(kind, start + place) for kind, place in chunk)
            for chunk in self._chunks
        )

    def zone(self, zone: Zone) -> int:
        """Adds a zone's apex and its negative SOA."""
        apex = to_wire(zone.apex)
        ttl = min(zone.ttl, zone.minimum)
        pieces = negative_pieces(zone, self._serial)
        head = ZONE.pack(len(apex), len(pieces), ttl) + apex
        return self._put(head + b"".join(PIECE.pack(len(each)) + each for each in pieces))

    def node(self, name: str, wire: bytes, node: _Node) -> int:
        """Adds a name with the bodies of all its types."""
        types = [(kind, self._put_body(body)) for kind, body in self._bodies(name, node)]
        service = 0 if node.service is None else node.service + 1
        flags = WHOAMI if node.whoami else 0
        place = self._put(NODE.pack(node.zone, service, flags, len(wire), len(types)) + wire)
        self._chunks.append(types)
        self._size += TYPE.size * len(types)
        return place

    def _put(self, chunk: bytes) -> int:
        place = self._size
        self._chunks.append(chunk)
        self._size += len(chunk)
        return place

    def _put_body(self, body: Body) -> int:
        head = BODY.pack(body.rcode, body.answers, body.authorities, len(body.octets))
        return self._put(head + body.octets)

    def _bodies(self, name: str, node: _Node) -> Iterator[tuple[int, Body]]:
        if node.target is not None:
            yield CNAME, _body(name, [(name, node.rrsets[0])])
            yield from self._chain(name, node)
            return
        for rrset in node.rrsets:
            yield rrset.type, plain_body(rrset) or _body(name, [(name, rrset)])

    def _chain(self, name: str, node: _Node) -> Iterator[tuple[int, Body]]:
        """The bodies of an alias for each type that its end has, and for all others.

        The chain is followed inside the zone (RFC 1034 §4.3.2) and ends before a steered name,
        whose answer must be cached by itself (RFC 7871 §7.2.1). The rcode is that of the last
        name (RFC 6604 §3).
        """
        zone = self._zones[node.zone]
        links: list[tuple[str, RRset]] = []
        end, last = name, node
        while last.target is not None and len(links) < LONGEST_CHAIN:
            links.append((end, last.rrsets[0]))
            end = last.target
            if zone_of(end, self._apexes) != zone.apex or any(end == owner for owner, _ in links):
                yield OTHER_TYPES, _body(name, links)  # left the zone, or closed a loop
                return
            following = self._nodes.get(end)
            if following is None:
                yield OTHER_TYPES, self._negative(name, links, zone, NXDOMAIN)
                return
            last = following
        if last.target is not None or last.service is not None or last.whoami:
            yield OTHER_TYPES, _body(name, links)
            return
        yield OTHER_TYPES, self._negative(name, links, zone, NOERROR)
        for rrset in last.rrsets:
            yield rrset.type, _body(name, [*links, (end, rrset)])

    def _negative(self, name: str, links: list[tuple[str, RRset]], zone: Zone, rcode: int) -> Body:
        writer = _writer(name, links)
        start = start_of_authority(zone, self._serial, negative=True)
        writer.add(zone.apex, start, authority=True)
        return writer.body(rcode)


def _writer(name: str, sets: Iterable[tuple[str, RRset]]) -> BodyWriter:
    writer = BodyWriter(name)
    for owner, rrset in sets:
        writer.add(owner, rrset)
    return writer


def _body(name: str, sets: Iterable[tuple[str, RRset]]) -> Body:
    return _writer(name, sets).body()


def negative_pieces(zone: Zone, serial: int) -> list[bytes]:
    """The SOA record of negative answers, in the pieces that `layout.ZONE` tells of."""
    apex = to_wire(zone.apex)
    pieces = [b""]
    length = 20
    for name in map(to_wire, (zone.primary, zone.contact)):
        inside = within(name, apex)
        pieces[-1] += name[: -len(apex)] if inside else name
        length += len(name) - len(apex) + 2 if inside else len(name)
        if inside:
            pieces.append(b"")
    pieces[-1] += struct.pack(">5I", serial, zone.refresh, zone.retry, zone.expire, zone.minimum)
    pieces[0] = struct.pack(">HHIH", SOA, IN, min(zone.ttl, zone.minimum), length) + pieces[0]
    return pieces
