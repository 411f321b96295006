"""RRsets, and answer bodies made of them when a table is compiled.

A body is the part of a message after its question. Names in it may point into the question (RFC
1035 §4.1.4). It lists its pointers, which must be adjusted if the question is longer than the name
that the body was made for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from firsthop_dns.wire.names import ROOT, parent
from firsthop_dns.wire.query import AAAA, CNAME, IN, NS, SOA, A
from firsthop_zones.model import Record, Zone
from firsthop_zones.names import to_text, to_wire
from firsthop_zones.rdata import CompressibleName, Rdata

__all__ = ["ADDRESSES", "Body", "BodyWriter", "RRset", "ZoneError"]

ADDRESSES = (A, AAAA)
LARGEST_BODY = 65_535 - 12 - 259 - 128
"""Octets at most, so header, longest question, body and OPT fit a message (RFC 1035 §4.2.2)."""
_POINTER = 0xC000
_POINTER_END = 0x2000
"""Offset from which on names get no pointers. A pointer can reach 0x3FFF, and a body may be moved
behind `layout.LONGEST_CHAIN` links of a DNAME and a CNAME each, about 4,500 octets."""
_QUESTION_AT = 12
_FIXED = struct.Struct(">HHIH")
_OWNER = b"\xc0\x0c"
"""A pointer to the question's name."""
ANSWER, AUTHORITY, ADDITIONAL, SPARE = range(4)
"""Sections of a body, in order; spare records go into the additional section if there is room."""


class ZoneError(ValueError):
    """A zone that cannot be encoded; the message names owner, type and rule."""


@dataclass(frozen=True, slots=True)
class RRset:
    """Records of one owner and type: one TTL, no duplicates (RFC 2181 §5)."""

    type: int
    ttl: int
    values: tuple[Rdata, ...]

    @property
    def names(self) -> tuple[bytes, ...]:
        """The name that each NS, CNAME, PTR or DNAME holds, as a wire name."""
        return tuple(value.parts[0] for value in self.values)


@dataclass(frozen=True, slots=True)
class Body:
    """The records of an answer, after its question.

    `counts` are those of the four sections of this module; the spare records begin at `spare_at`.
    `pointers` are the offsets of all compression pointers, which are needed to move the body.
    """

    rcode: int
    authoritative: bool
    counts: tuple[int, int, int, int]
    octets: bytes
    spare_at: int
    pointers: tuple[int, ...]


class BodyWriter:
    """Collects the records of one answer to a question for `base`, or for names below it.

    The records of a wildcard are owned by the question's name, whatever it is.
    """

    def __init__(self, base: bytes) -> None:
        self._base = base
        self._synthesised = base[:2] == b"\x01*"
        self._octets = bytearray()
        self._start = _QUESTION_AT + len(base) + 4
        self._names: dict[bytes, int] = {}
        self._pointers: list[int] = []
        self._counts = [0, 0, 0, 0]
        self._spare_at = 0
        self._remember(base, _QUESTION_AT)
        if self._synthesised:  # `*` in data is a plain name (RFC 4592 §2.1), not the question's
            self._names.pop(base, None)

    def add(self, owner: bytes, rrset: RRset, section: int = ANSWER) -> None:
        """Appends an RRset; sections come in their order, and spare records only if they fit."""
        if section == SPARE:
            size = sum(len(owner) + 10 + sum(map(len, each.parts)) for each in rrset.values)
            if len(self._octets) + size > LARGEST_BODY:
                return
        for value in rrset.values:
            if owner == self._base and self._synthesised:
                self._pointers.append(len(self._octets))
                self._octets += _OWNER
            else:
                self._add_name(owner)
            self._octets += _FIXED.pack(rrset.type, IN, rrset.ttl, 0)
            before = len(self._octets)
            for part in value.parts:
                if isinstance(part, CompressibleName):
                    self._add_name(part)
                else:
                    self._octets += part
            self._octets[before - 2 : before] = (len(self._octets) - before).to_bytes(2, "big")
        self._counts[section] += len(rrset.values)
        if section != SPARE:
            self._spare_at = len(self._octets)

    def body(self, rcode: int = 0, *, authoritative: bool = True) -> Body:
        """The body of the records so far. Raises ZoneError if it fits no message."""
        if len(self._octets) > LARGEST_BODY:
            owner = to_text(self._base)
            raise ZoneError(f"{owner}: {len(self._octets)} octets of records fit no message")
        first, second, third, spare = self._counts
        return Body(
            rcode,
            authoritative,
            (first, second, third, spare),
            bytes(self._octets),
            self._spare_at,
            tuple(self._pointers),
        )

    def _add_name(self, name: bytes) -> None:
        suffix, written = name, 0
        while suffix != ROOT:
            offset = self._names.get(suffix)
            if offset is not None:
                self._remember(name, self._start + len(self._octets), until=suffix)
                self._octets += name[:written]
                self._pointers.append(len(self._octets))
                self._octets += (_POINTER | offset).to_bytes(2, "big")
                return
            written += suffix[0] + 1
            suffix = parent(suffix)
        self._remember(name, self._start + len(self._octets))
        self._octets += name

    def _remember(self, name: bytes, offset: int, until: bytes = ROOT) -> None:
        while name != until and offset < _POINTER_END:
            self._names.setdefault(name, offset)
            offset += name[0] + 1
            name = parent(name)


def rrsets(records: Iterable[Record]) -> dict[int, RRset]:
    """The records of one owner as RRsets, each with the least TTL of its records."""
    values: dict[int, dict[Rdata, int]] = {}
    for record in records:
        value = record.parsed
        of_type = values.setdefault(value.type, {})
        of_type[value] = min(record.ttl, of_type.get(value, record.ttl))
    return {kind: RRset(kind, min(ttls.values()), tuple(ttls)) for kind, ttls in values.items()}


def start_of_authority(zone: Zone, serial: int, *, negative: bool = False) -> RRset:
    """The SOA; for negative answers its TTL is at most MINIMUM (RFC 2308 §3)."""
    names = (CompressibleName(to_wire(name)) for name in (zone.primary, zone.contact))
    times = struct.pack(">5I", serial, zone.refresh, zone.retry, zone.expire, zone.minimum)
    ttl = min(zone.ttl, zone.minimum) if negative else zone.ttl
    return RRset(SOA, ttl, (Rdata(SOA, (*names, times)),))


def name_servers(zone: Zone) -> RRset:
    """The NS RRset of the apex."""
    names = (CompressibleName(to_wire(name)) for name in dict.fromkeys(zone.name_servers))
    ttl = zone.ttl if zone.name_servers_ttl is None else zone.name_servers_ttl
    return RRset(NS, ttl, tuple(Rdata(NS, (name,)) for name in names))


def alias(owner: bytes, prefix: int, target: bytes, ttl: int) -> RRset | None:
    """The CNAME that a DNAME makes for `owner`, whose first `prefix` octets go before `target`.

    None if the name would be too long (RFC 6672 §2.2).
    """
    name = owner[:prefix] + target
    if len(name) > 255:
        return None
    return RRset(CNAME, ttl, (Rdata(CNAME, (CompressibleName(name),)),))


def plain_body(rrset: RRset) -> Body | None:
    """The body of the question's own RRset, made fast; None if it has names or is too long."""
    records: list[bytes] = []
    pointers = []
    offset = 0
    for value in rrset.values:
        parts = value.parts
        if len(parts) != 1 or isinstance(parts[0], CompressibleName):
            return None
        pointers.append(offset)
        offset += 12 + len(parts[0])
        records.append(_OWNER + _FIXED.pack(rrset.type, IN, rrset.ttl, len(parts[0])) + parts[0])
    octets = b"".join(records)
    if len(octets) > LARGEST_BODY:
        return None
    return Body(0, True, (len(records), 0, 0, 0), octets, len(octets), tuple(pointers))
