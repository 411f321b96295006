"""A strict walk over the octets of one DNS message: where dnspython is too kind, this raises."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_HEADER = struct.Struct(">6H")
_FIXED = struct.Struct(">HHIH")
_NAMES_MAY_BE_SHORTENED = {2: 0, 5: 0, 6: 0, 12: 0, 15: 2}
"""NS, CNAME, SOA, PTR, MX: RFC 1035's own types (RFC 3597 §4), and where their name begins."""
_NAMES_ARE_WHOLE = {33: 6, 39: 0, 64: 2, 65: 2}
"""SRV (RFC 2782), DNAME (RFC 6672 §2.5), SVCB and HTTPS (RFC 9460 §2.2)."""


class WireError(Exception):
    """The message breaks a rule; the text says which and where."""


class Name(NamedTuple):
    """A name as it stood: its labels, how it was written, and where it ended."""

    labels: tuple[bytes, ...]
    pointers: tuple[int, ...]
    """Offsets that its pointers led to."""
    end: int


class WireRecord(NamedTuple):
    """One record, octet by octet."""

    owner: Name
    kind: int
    rdclass: int
    ttl: int
    data: bytes
    data_at: int


@dataclass(frozen=True, slots=True)
class Walked:
    """A whole message."""

    flags: int
    questions: tuple[tuple[Name, int, int], ...]
    answer: tuple[WireRecord, ...]
    authority: tuple[WireRecord, ...]
    additional: tuple[WireRecord, ...]

    @property
    def records(self) -> Iterator[WireRecord]:
        """Of all sections."""
        yield from (*self.answer, *self.authority, *self.additional)


def read_name(message: bytes, at: int) -> Name:
    """A name at an offset; pointers go backwards, labels and name keep their bounds."""
    labels: list[bytes] = []
    pointers: list[int] = []
    end, before = 0, at
    while True:
        length = message[at]
        if length < 64:
            if not length:
                break
            labels.append(message[at + 1 : at + 1 + length])
            at += 1 + length
        elif length >= 192:
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            end = end or at + 2
            if target >= before:
                raise WireError(f"the pointer at {at} leads to {target}, which is not before it")
            pointers.append(target)
            at = before = target
        else:
            raise WireError(f"a label of type {length >> 6} at {at}")
    if sum(map(len, labels)) + len(labels) + 1 > 255:
        raise WireError("a name of more than 255 octets")
    return Name(tuple(labels), tuple(pointers), end or at + 1)


def walk(message: bytes) -> Walked:
    """Reads all of it; raises WireError or IndexError where it is not as it must be."""
    _, flags, *counts = _HEADER.unpack_from(message)
    at, questions = 12, []
    for _ in range(counts[0]):
        name = read_name(message, at)
        questions.append((name, *struct.unpack_from(">HH", message, name.end)))
        at = name.end + 4
    sections = []
    for count in counts[1:]:
        section = []
        for _ in range(count):
            record = _record(message, at)
            section.append(record)
            at = record.data_at + len(record.data)
        sections.append(tuple(section))
    if at != len(message):
        raise WireError(f"{len(message) - at} octets behind the last record")
    return Walked(flags, tuple(questions), *sections)


def _record(message: bytes, at: int) -> WireRecord:
    owner = read_name(message, at)
    kind, rdclass, ttl, length = _FIXED.unpack_from(message, owner.end)
    start = owner.end + _FIXED.size
    if start + length > len(message):
        raise WireError(f"the data at {start} goes beyond the message")
    record = WireRecord(owner, kind, rdclass, ttl, message[start : start + length], start)
    shortened, whole = _NAMES_MAY_BE_SHORTENED.get(kind), _NAMES_ARE_WHOLE.get(kind)
    if shortened is not None:
        name = read_name(message, start + shortened)
        if kind == 6:
            name = read_name(message, name.end)
        rest = 20 if kind == 6 else 0
        if name.end + rest != start + length:
            raise WireError(f"the names at {start} do not fill their data")
    if whole is not None and read_name(message, start + whole).pointers:
        raise WireError(f"a shortened name in data of type {kind}")
    return record
