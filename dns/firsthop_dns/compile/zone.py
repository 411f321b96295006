"""Encodes zones and steered answers into the section `dns`, when a table is compiled.

The static part depends on the plan only (`static_zones`) and may be reused while only health
changes; the services' RRsets depend on health.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

from firsthop_dns.compile.answer_bodies import Bodies
from firsthop_dns.compile.name_tree import WILDCARD as WILDCARD_LABEL
from firsthop_dns.compile.name_tree import NameNode, NameTree
from firsthop_dns.compile.rrset import Body, ZoneError
from firsthop_dns.compile.service_rrsets import Endpoints, SteeredService, answer_rrsets
from firsthop_dns.table.layout import (
    ANSWERS,
    BODY,
    CUT,
    HEAD,
    MAGIC,
    NODE,
    OTHER_TYPES,
    POINTER,
    RENAMES,
    STATIC,
    STATIC_AT,
    TYPE,
    WHOAMI,
    WILDCARD,
    ZONE,
)
from firsthop_dns.wire.names import depth
from firsthop_dns.wire.query import DNAME
from firsthop_steering.plan.document import Document
from firsthop_zones.names import to_wire

__all__ = ["ZoneError", "encode_zones", "static_zones"]


def encode_zones(
    document: Document,
    serial: int,
    services: Sequence[SteeredService],
    *,
    static: bytes | None = None,
) -> bytes:
    """The section `dns` of a table file.

    `services` are in the document's order, which is that of the table. `static` is the result of
    `static_zones` for the same document and serial, if the caller kept it. Raises ZoneError if
    records do not fit a message.
    """
    if [each.name for each in services] != [each.name for each in document.services]:
        raise ValueError("the services are not the document's, in its order")
    part = static_zones(document, serial) if static is None else static
    part += bytes(-len(part) % 4)
    head = HEAD.pack(MAGIC, len(part)).ljust(STATIC_AT, b"\0")
    return head + part + _answers(document, services)


def static_zones(document: Document, serial: int) -> bytes:
    """The static part of the section: every name of every zone with its answers."""
    serial &= 0xFFFFFFFF  # RFC 1982: serials wrap
    tree = NameTree(document, serial)
    bodies = Bodies(tree, serial)
    heap = _Heap()
    zones = [heap.zone(apex, index, bodies, tree) for apex, index in tree.apexes.items()]
    offsets = {name: heap.node(name, node, bodies, tree) for name, node in tree.nodes.items()}
    services = [offsets[to_wire(service.name)] for service in document.services]
    hashed = sorted((crc32(name), offset) for name, offset in offsets.items())
    deepest = max(map(depth, tree.nodes), default=0)
    counts = STATIC.pack(len(zones), len(services), len(hashed), deepest)
    start = len(counts) + 4 * (len(zones) + len(services) + 2 * len(hashed))
    tables = [
        *(start + offset for offset in (*zones, *services)),
        *(number for number, _ in hashed),
        *(start + offset for _, offset in hashed),
    ]
    return counts + struct.pack(f"<{len(tables)}I", *tables) + heap.octets(start)


def _answers(document: Document, services: Sequence[SteeredService]) -> bytes:
    firsts, ends, records, blob = [0], [0], bytearray(), bytearray()
    for service, asked in zip(services, document.services, strict=True):
        endpoints = Endpoints(document, asked.pool)
        for answer in service.answers:
            for count, octets in answer_rrsets(answer, endpoints):
                blob += octets
                records.append(count)
                ends.append(len(blob))
        firsts.append(firsts[-1] + len(service.answers))
    counts = ANSWERS.pack(len(services), firsts[-1])
    return counts + struct.pack(f"<{len(firsts) + len(ends)}I", *firsts, *ends) + records + blob


class _Heap:
    """Lays out zones, nodes and bodies one after the other; offsets count from its start."""

    def __init__(self) -> None:
        self._chunks: list[bytes | list[tuple[int, int]]] = []
        self._size = 0

    def octets(self, start: int) -> bytes:
        """The whole heap; offsets of bodies in it count from `start` octets before it."""
        return b"".join(
            chunk
            if isinstance(chunk, bytes)
            else b"".join(TYPE.pack(kind, start + offset) for kind, offset in chunk)
            for chunk in self._chunks
        )

    def zone(self, apex: bytes, index: int, bodies: Bodies, tree: NameTree) -> int:
        """Adds a zone's apex and the offset of its body of negative answers."""
        zone = tree.zones[index]
        denial = self._body(bodies.negative(apex, index))
        offset = self._put(ZONE.pack(len(apex), min(zone.ttl, zone.minimum)) + apex)
        self._point([(OTHER_TYPES, denial)])
        return offset

    def node(self, name: bytes, node: NameNode, bodies: Bodies, tree: NameTree) -> int:
        """Adds a name with the bodies of all its types."""
        types = [(kind, self._body(body)) for kind, body in bodies.of(name, node)]
        service = 0 if node.service is None else node.service + 1
        offset = self._put(
            NODE.pack(node.zone, service, _flags(name, node, tree), len(name), len(types)) + name
        )
        self._point(types)
        return offset

    def _point(self, types: list[tuple[int, int]]) -> None:
        self._chunks.append(types)
        self._size += TYPE.size * len(types)

    def _put(self, chunk: bytes) -> int:
        offset = self._size
        self._chunks.append(chunk)
        self._size += len(chunk)
        return offset

    def _body(self, body: Body) -> int:
        head = BODY.pack(
            body.rcode,
            body.authoritative,
            *body.counts,
            len(body.pointers),
            len(body.octets),
            body.spare_at,
        )
        pointers = b"".join(map(POINTER.pack, body.pointers))
        return self._put(head + pointers + body.octets)


def _flags(name: bytes, node: NameNode, tree: NameTree) -> int:
    flags = WHOAMI if node.whoami else 0
    flags |= CUT if node.cut else 0
    flags |= RENAMES if DNAME in node.rrsets else 0
    return flags | (WILDCARD if WILDCARD_LABEL + name in tree.nodes else 0)
