"""Reads zones and RRsets of a mapped table by wire name; see `layout`.

A name's node is read at its first query and kept. Nothing is loaded in advance, so swapping to a
new table takes the same time for zones of any size.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from zlib import crc32

from firsthop_dns.table.layout import (
    ANSWERS,
    BODY,
    CUT,
    HEAD,
    MAGIC,
    NODE,
    POINTER,
    RENAMES,
    SECTION,
    STATIC,
    STATIC_AT,
    STEERED,
    TYPE,
    WHOAMI,
    WILDCARD,
    ZONE,
)
from firsthop_dns.wire.names import ROOT, parent
from firsthop_steering.compile.sections import SectionError
from firsthop_steering.compile.table import AnswerTable

_WILDCARD_LABEL = b"\x01*"
_QUESTION_AT = 12


@dataclass(frozen=True, slots=True)
class StoredBody:
    """The records after a question; see `rrset.Body`."""

    rcode: int
    authoritative: bool
    counts: tuple[int, int, int, int]
    spare_at: int
    octets: bytes
    pointers: tuple[int, ...]

    def moved(
        self, base: bytes, name_at: int, name: int, body_at: int, *, literal: bool = False
    ) -> bytes:
        """The octets, adjusted to a name that is longer than `base`, or at another offset.

        `base` is the name that the body was made for. The name in the message ends in it, has
        `name` octets and is at offset `name_at`; the body will be at offset `body_at`. The owner of
        a wildcard's records is the whole name, unless they are `literal`.
        """
        moved = bytearray(self.octets)
        synthesised = base.startswith(_WILDCARD_LABEL) and not literal
        owner = name_at if synthesised else name_at + name - len(base)
        inside, behind = name_at + name - len(base), body_at - len(base) - 4
        for offset in self.pointers:
            pointer = (moved[offset] & 0x3F) << 8 | moved[offset + 1]
            if pointer == _QUESTION_AT:
                pointer = owner
            elif pointer < _QUESTION_AT + len(base):
                pointer += inside - _QUESTION_AT
            else:
                pointer += behind - _QUESTION_AT
            moved[offset : offset + 2] = (0xC000 | pointer).to_bytes(2, "big")
        return bytes(moved)

    def behind(self, base: bytes, name: int, *, literal: bool = False) -> bytes:
        """The octets after a question whose name has `name` octets and ends in `base`."""
        if name == len(base) or not self.pointers:
            return self.octets
        return self.moved(base, _QUESTION_AT, name, _QUESTION_AT + name + 4, literal=literal)


class ZoneView:
    """The data of a zone that a negative answer needs."""

    __slots__ = ("apex", "denial", "label", "negative_ttl")

    def __init__(self, apex: bytes, negative_ttl: int, denial: int) -> None:
        self.apex = apex
        self.negative_ttl = negative_ttl
        self.denial = denial
        """The offset of the body of negative answers: the SOA with their TTL."""
        self.label = b".".join(_labels(apex)).decode("ascii", "backslashreplace") + "."
        """The apex as text, for metrics."""


@dataclass(frozen=True, slots=True)
class MappedName:
    """A name that exists. `service` indexes the table's services; `types` has offsets of bodies."""

    name: bytes
    zone: ZoneView
    service: int | None
    flags: int
    types: dict[int, int]

    @property
    def whoami(self) -> bool:
        """Whether it is a whoami name."""
        return bool(self.flags & WHOAMI)

    @property
    def cut(self) -> bool:
        """Whether it is a delegation."""
        return bool(self.flags & CUT)

    @property
    def renames(self) -> bool:
        """Whether it has a DNAME, which renames all names below it."""
        return bool(self.flags & RENAMES)


class Zones:
    """The section `dns` of one table.

    Raises SectionError for a section of another format.
    """

    def __init__(self, section: memoryview) -> None:
        magic, length = HEAD.unpack_from(section) if len(section) >= STATIC_AT else (b"", 0)
        if magic != MAGIC:
            raise SectionError(f"section {SECTION} is not of the format {MAGIC!r}")
        self._static = section[STATIC_AT : STATIC_AT + length]
        zones, services, names, self._deepest = STATIC.unpack_from(self._static)
        end = STATIC.size + 4 * (zones + services + 2 * names)
        numbers = self._static[STATIC.size : end].cast("I")
        self.zones = tuple(self._read_zone(offset) for offset in numbers[:zones])
        self._hashes = numbers[zones + services : zones + services + names]
        self._offsets = numbers[zones + services + names :]
        self.services = tuple(
            self._read_node(offset) for offset in numbers[zones : zones + services]
        )
        """The node of every service, in the table's order."""
        self._nodes: dict[bytes, MappedName] = {}
        self._bodies: dict[int, StoredBody] = {}
        answers = section[STATIC_AT + length :]
        answering, count = ANSWERS.unpack_from(answers)
        if answering != services:
            raise SectionError(f"section {SECTION} answers for {answering} of {services} services")
        start = ANSWERS.size + 4 * (services + 1)
        end = start + 4 * (len(STEERED) * count + 1)
        self._firsts = answers[ANSWERS.size : start].cast("I")
        self._ends = answers[start:end].cast("I")
        self._records = answers[end : end + len(STEERED) * count]
        self._rrsets = answers[end + len(STEERED) * count :]

    @classmethod
    def of(cls, table: AnswerTable) -> Zones:
        """The zones of a mapped table."""
        if SECTION not in table.sections:
            raise SectionError(f"{table.sections.path}: holds no section {SECTION}")
        return cls(table.sections.bytes(SECTION))

    def find(self, name: bytes) -> MappedName | None:
        """The node of `name`, or else that of its closest encloser (RFC 4592 §3.3.1).

        None if the name lies in no zone. It looks up no more names than the deepest one has labels,
        and the root.
        """
        node = self._nodes.get(name)
        if node is not None:
            return node
        offsets = [0]
        while name[offsets[-1]]:
            offsets.append(offsets[-1] + 1 + name[offsets[-1]])
        for offset in offsets[max(0, len(offsets) - 1 - self._deepest) :]:
            node = self._node(name[offset:])
            if node is not None:
                return node
        return None

    def wildcard(self, encloser: MappedName) -> MappedName | None:
        """The source of synthesis for names below their closest encloser (RFC 4592 §3.3.1)."""
        if not encloser.flags & WILDCARD:
            return None
        return self._node(_WILDCARD_LABEL + encloser.name)

    def body(self, offset: int) -> StoredBody:
        """The body at an offset that a node or zone contains."""
        body = self._bodies.get(offset)
        if body is None:
            rcode, authoritative, *counts, pointers, length, spare_at = BODY.unpack_from(
                self._static, offset
            )
            start = offset + BODY.size
            end = start + POINTER.size * pointers
            moving = (each for (each,) in POINTER.iter_unpack(self._static[start:end]))
            first, second, third, spare = counts
            body = self._bodies[offset] = StoredBody(
                rcode,
                bool(authoritative),
                (first, second, third, spare),
                spare_at,
                bytes(self._static[end : end + length]),
                tuple(moving),
            )
        return body

    def rrset(self, service: int, answer: int, kind: int) -> tuple[int, bytes]:
        """Count and records of an answer; `kind` is the index of its type in `layout.STEERED`."""
        offset = len(STEERED) * (self._firsts[service] + answer) + kind
        return self._records[offset], bytes(
            self._rrsets[self._ends[offset] : self._ends[offset + 1]]
        )

    def _node(self, name: bytes) -> MappedName | None:
        node = self._nodes.get(name)
        if node is not None:
            return node
        wanted = crc32(name)
        index = bisect_left(self._hashes, wanted)
        while index < len(self._hashes) and self._hashes[index] == wanted:
            node = self._read_node(self._offsets[index])
            if node.name == name:
                self._nodes[name] = node
                return node
            index += 1
        return None

    def _read_node(self, offset: int) -> MappedName:
        zone, service, flags, length, types = NODE.unpack_from(self._static, offset)
        start = offset + NODE.size
        name = bytes(self._static[start : start + length])
        end = start + length + types * TYPE.size
        listed = dict(TYPE.iter_unpack(self._static[start + length : end]))
        return MappedName(name, self.zones[zone], service - 1 if service else None, flags, listed)

    def _read_zone(self, offset: int) -> ZoneView:
        length, ttl = ZONE.unpack_from(self._static, offset)
        start = offset + ZONE.size
        apex = bytes(self._static[start : start + length])
        _, denial = TYPE.unpack_from(self._static, start + length)
        return ZoneView(apex, ttl, denial)


def _labels(name: bytes) -> list[bytes]:
    found = []
    while name != ROOT:
        found.append(name[1 : name[0] + 1])
        name = parent(name)
    return found
