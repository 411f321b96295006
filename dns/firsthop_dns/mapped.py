"""The zones and RRsets of a mapped table, found by wire name; reads what `zone` wrote.

Nothing is loaded ahead: a name's record is read when it is first asked for, and kept, so a worker
takes a new table at once however large its zones are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from firsthop_dns.layout import (
    ANSWERS,
    BODY,
    HEAD,
    MAGIC,
    NEGATIVE_TTL,
    NODE,
    PIECE,
    SECTION,
    STATIC,
    STATIC_AT,
    TYPE,
    WHOAMI,
    ZONE,
)
from firsthop_dns.names import ROOT, parent
from firsthop_steering.sections import SectionError
from firsthop_steering.table import AnswerTable

_QUESTION_AT = 12


@dataclass(frozen=True, slots=True)
class StoredBody:
    """The records behind a question, and how many."""

    rcode: int
    answers: int
    authorities: int
    octets: bytes


class ZoneView:
    """What is needed of a zone when a name of it has no data."""

    __slots__ = ("_made", "_pieces", "apex", "label", "negative_ttl")

    def __init__(self, apex: bytes, pieces: Sequence[bytes], negative_ttl: int) -> None:
        self.apex = apex
        self._pieces = pieces
        self.negative_ttl = negative_ttl
        self.label = b".".join(_labels(apex)).decode("ascii", "backslashreplace") + "."
        """The apex as metrics and people write it."""
        self._made: dict[tuple[int, int], bytes] = {}

    def negative(self, name_length: int, most: int | None = None) -> bytes:
        """The SOA record for a negative answer about a name of that many octets.

        Its TTL is min(SOA TTL, MINIMUM) (RFC 2308 §5), and no more than `most`.
        """
        ttl = self.negative_ttl if most is None else min(most, self.negative_ttl)
        made = self._made.get((name_length, ttl))
        if made is None:
            pointer = 0xC000 | _QUESTION_AT + name_length - len(self.apex)
            first = bytearray(self._pieces[0])
            first[NEGATIVE_TTL] = ttl.to_bytes(4, "big")
            made = pointer.to_bytes(2, "big").join((b"", first, *self._pieces[1:]))
            self._made[name_length, ttl] = made
        return made


@dataclass(frozen=True, slots=True)
class Node:
    """A name that exists. `service` counts in the table's order; `types` gives places of bodies."""

    zone: ZoneView
    service: int | None
    whoami: bool
    types: dict[int, int]


class Zones:
    """The section `dns` of one table.

    Raises SectionError when the section is of another format than this code reads.
    """

    def __init__(self, section: memoryview) -> None:
        magic, length = HEAD.unpack_from(section) if len(section) >= STATIC_AT else (b"", 0)
        if magic != MAGIC:
            raise SectionError(f"section {SECTION} is not of the format {MAGIC!r}")
        self._static = section[STATIC_AT : STATIC_AT + length]
        zones, services, names, self._deepest = STATIC.unpack_from(self._static)
        end = STATIC.size + 4 * (zones + services + 2 * names)
        numbers = self._static[STATIC.size : end].cast("I")
        self.zones = tuple(self._read_zone(place) for place in numbers[:zones])
        self._hashes = numbers[zones + services : zones + services + names]
        self._places = numbers[zones + services + names :]
        self.services = tuple(self._read_node(place) for place in numbers[zones : zones + services])
        """Wire name and node of every service, in the table's order."""
        self._nodes: dict[bytes, Node] = {}
        self._bodies: dict[int, StoredBody] = {}
        answers = section[STATIC_AT + length :]
        answering, count = ANSWERS.unpack_from(answers)
        if answering != services:
            raise SectionError(f"section {SECTION} answers for {answering} of {services} services")
        start = ANSWERS.size + 4 * (services + 1)
        end = start + 4 * (2 * count + 1)
        self._firsts = answers[ANSWERS.size : start].cast("I")
        self._ends = answers[start:end].cast("I")
        self._rrsets = answers[end:]

    @classmethod
    def of(cls, table: AnswerTable) -> Zones:
        """Those of a mapped table."""
        if SECTION not in table.sections:
            raise SectionError(f"{table.sections.path}: holds no section {SECTION}")
        return cls(table.sections.bytes(SECTION))

    def find(self, name: bytes) -> tuple[Node, bool] | None:
        """The node of `name`, or that of its closest encloser, and whether it is the name itself.

        None when the name lies in no zone (RFC 4592 §3.3.1 has the words). Looks at no more names
        than the deepest one has labels.
        """
        node = self._nodes.get(name)
        if node is not None:
            return node, True
        offsets = [0]
        while name[offsets[-1]]:
            offsets.append(offsets[-1] + 1 + name[offsets[-1]])
        for offset in offsets[max(0, len(offsets) - 1 - self._deepest) :]:
            node = self._node(name[offset:])
            if node is not None:
                return node, not offset
        return None

    def body(self, place: int) -> StoredBody:
        """The body at a place that a node names."""
        body = self._bodies.get(place)
        if body is None:
            rcode, answers, authorities, length = BODY.unpack_from(self._static, place)
            start = place + BODY.size
            octets = bytes(self._static[start : start + length])
            body = self._bodies[place] = StoredBody(rcode, answers, authorities, octets)
        return body

    def rrset(self, service: int, answer: int, ipv6: bool) -> bytes:
        """The A or AAAA records of an answer; empty when it has none."""
        place = 2 * (self._firsts[service] + answer) + ipv6
        return bytes(self._rrsets[self._ends[place] : self._ends[place + 1]])

    def _node(self, name: bytes) -> Node | None:
        node = self._nodes.get(name)
        if node is not None:
            return node
        wanted = crc32(name)
        index = bisect_left(self._hashes, wanted)
        while index < len(self._hashes) and self._hashes[index] == wanted:
            found, node = self._read_node(self._places[index])
            if found == name:
                self._nodes[name] = node
                return node
            index += 1
        return None

    def _read_node(self, place: int) -> tuple[bytes, Node]:
        zone, service, flags, length, types = NODE.unpack_from(self._static, place)
        start = place + NODE.size
        name = bytes(self._static[start : start + length])
        end = start + length + types * TYPE.size
        listed = dict(TYPE.iter_unpack(self._static[start + length : end]))
        node = Node(
            self.zones[zone], service - 1 if service else None, bool(flags & WHOAMI), listed
        )
        return name, node

    def _read_zone(self, place: int) -> ZoneView:
        length, pieces, ttl = ZONE.unpack_from(self._static, place)
        offset = place + ZONE.size
        apex = bytes(self._static[offset : offset + length])
        offset += length
        found = []
        for _ in range(pieces):
            (size,) = PIECE.unpack_from(self._static, offset)
            offset += PIECE.size
            found.append(bytes(self._static[offset : offset + size]))
            offset += size
        return ZoneView(apex, found, ttl)


def _labels(name: bytes) -> list[bytes]:
    found = []
    while name != ROOT:
        found.append(name[1 : name[0] + 1])
        name = parent(name)
    return found
