"""RRsets encoded when a table is compiled; dnslib writes the RDATA, and nothing here sees a packet.

A body is what follows the question in a message whose question is known, so names in it may point
into the question (RFC 1035 §4.1.4). dnslib's own message writer is not used: its compression goes
wrong past offset 16,383, and its TXT and CAA go by text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import dnslib

from firsthop_dns.wire import AAAA, IN, MX, NS, SOA, A
from firsthop_steering.model import Record, Zone
from firsthop_steering.names import to_text, to_wire
from firsthop_steering.rdata import CompressibleName, Rdata

LARGEST_BODY = 65_535 - 12 - 259 - 64
"""So that header, longest question, body and OPT fit a message (RFC 1035 §4.2.2)."""
_POINTER_END = 0x4000
_QUESTION_AT = 12
_FIXED = struct.Struct(">HHIH")
_OWNER = b"\xc0\x0c"
"""A pointer to the question's name."""


class ZoneError(ValueError):
    """A zone that cannot be put on the wire; the message names owner, type and rule."""


@dataclass(frozen=True, slots=True)
class RRset:
    """Records of one owner and type: one TTL, no duplicates (RFC 2181 §5)."""

    type: int
    ttl: int
    values: tuple[dnslib.RD | bytes, ...]
    """RDATA: octets, or dnslib's object where it holds names that may be compressed."""


@dataclass(frozen=True, slots=True)
class Body:
    """What an answer holds behind its question: record counts and octets."""

    rcode: int
    answers: int
    authorities: int
    octets: bytes


class _Buffer(dnslib.DNSBuffer):  # type: ignore[misc]
    """dnslib's buffer, which here never remembers a name that a pointer cannot reach."""

    names: dict[tuple[bytes, ...], int]

    def encode_name(self, name: object) -> None:
        super().encode_name(name)
        while self.names and next(reversed(self.names.values())) >= _POINTER_END:
            self.names.popitem()


class BodyWriter:
    """Collects the records of one answer to a question for `owner`."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._buffer = _Buffer(bytes(_QUESTION_AT))
        self._buffer.offset = _QUESTION_AT
        self._buffer.encode_name(label(owner))
        self._buffer.pack("!HH", 0, 0)
        self._start = self._buffer.offset
        self._counts = [0, 0]

    def add(self, owner: str, rrset: RRset, *, authority: bool = False) -> None:
        """Appends an RRset; all answers come before the first authority."""
        for value in rrset.values:
            self._buffer.encode_name(label(owner))
            self._buffer.pack("!HHIH", rrset.type, IN, rrset.ttl, 0)
            before = self._buffer.offset
            if isinstance(value, bytes):
                self._buffer.append(value)
            else:
                value.pack(self._buffer)
            self._buffer.update(before - 2, "!H", self._buffer.offset - before)
        self._counts[authority] += len(rrset.values)

    def body(self, rcode: int = 0) -> Body:
        """What was collected. Raises ZoneError when no message can hold it."""
        octets = bytes(self._buffer.data[self._start :])
        if len(octets) > LARGEST_BODY:
            raise ZoneError(f"{self._owner}: {len(octets)} octets of records fit no message")
        return Body(rcode, self._counts[0], self._counts[1], octets)


def label(name: str) -> dnslib.DNSLabel:
    """The name by its labels, so that no character is taken for an escape."""
    wire, labels, at = to_wire(name), [], 0
    while length := wire[at]:
        labels.append(wire[at + 1 : at + 1 + length])
        at += 1 + length
    return dnslib.DNSLabel(labels)


def rrsets(records: Iterable[Record]) -> list[RRset]:
    """The records of one owner as RRsets; the least TTL of a type stands for all of it."""
    values: dict[int, dict[Rdata, int]] = {}
    for record in records:
        of_type = values.setdefault(record.parsed.type, {})
        of_type[record.parsed] = min(record.ttl, of_type.get(record.parsed, record.ttl))
    return [
        RRset(kind, min(ttls.values()), tuple(_rdata(each) for each in ttls))
        for kind, ttls in values.items()
    ]


def _rdata(value: Rdata) -> dnslib.RD | bytes:
    match value.parts:
        case (CompressibleName() as target,):
            return dnslib.CNAME(label(to_text(target)))
        case (preference, CompressibleName() as exchange) if value.type == MX:
            return dnslib.MX(label(to_text(exchange)), int.from_bytes(preference, "big"))
        case parts:
            return b"".join(parts)


def start_of_authority(zone: Zone, serial: int, *, negative: bool = False) -> RRset:
    """The SOA; for negative answers its TTL is at most MINIMUM (RFC 2308 §3)."""
    times = (serial, zone.refresh, zone.retry, zone.expire, zone.minimum)
    ttl = min(zone.ttl, zone.minimum) if negative else zone.ttl
    return RRset(SOA, ttl, (dnslib.SOA(label(zone.primary), label(zone.contact), times),))


def name_servers(zone: Zone) -> RRset:
    """The NS RRset of the apex."""
    names = dict.fromkeys(zone.name_servers)
    ttl = zone.ttl if zone.name_servers_ttl is None else zone.name_servers_ttl
    return RRset(NS, ttl, tuple(dnslib.NS(label(name)) for name in names))


def plain_body(rrset: RRset) -> Body | None:
    """The body of a question's own RRset without names in it, or None: the common case, quickly."""
    records = []
    for value in rrset.values:
        if not isinstance(value, bytes):
            return None
        records.append(_OWNER + _FIXED.pack(rrset.type, IN, rrset.ttl, len(value)) + value)
    octets = b"".join(records)
    return Body(0, len(records), 0, octets) if len(octets) <= LARGEST_BODY else None


def address_rrset(addresses: Sequence[IPv4Address | IPv6Address], ttl: int) -> bytes:
    """Steered A or AAAA records, each owned by the question's name.

    Packed by hand: there are thousands of them in every compilation.
    """
    return b"".join(
        _OWNER
        + _FIXED.pack(A if each.version == 4 else AAAA, IN, ttl, len(each.packed))
        + each.packed
        for each in addresses
    )
