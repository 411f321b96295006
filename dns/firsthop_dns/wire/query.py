"""The strict parser of queries, in one pass; never raises, work bounded by constants.

    Dropped    too short to answer, or itself a response
    Dataless   to be answered with an rcode and no data
    Query      one well-formed question of opcode QUERY

It checks the form of messages, not the meaning of names.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from firsthop_dns.wire.edns import FORMERR, NOERROR, NOTAUTH, NOTIMP, OPT, Edns, read_opt
from firsthop_dns.wire.tsig import TSIG, Tsig, read_tsig

A, NS, CNAME, SOA, HINFO, MX, TXT, AAAA, SRV, DNAME, DS = 1, 2, 5, 6, 13, 15, 16, 28, 33, 39, 43
SVCB, HTTPS = 64, 65
NXNAME, IXFR, AXFR, ANY, CAA = 128, 251, 252, 255, 257
IN = 1

MAX_RECORDS = 8
"""Records beside the question: a query carries OPT, perhaps TSIG or SIG(0), and IXFR's SOA."""

_HEADER = struct.Struct(">HHHHHH")
_PAIR = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_MAX_LABEL = 63
_NAME_END = 12 + 255
"""A question's name ends here at the latest: 255 octets from offset 12 (RFC 1035 §2.3.4)."""


class Dropped(NamedTuple):
    """A packet that must not be answered: two servers might answer each other for ever."""

    reason: str


class Dataless(NamedTuple):
    """A query that is answered with `rcode` alone; NOERROR if it requests only a cookie.

    `flags` and `identity` are as received, `question` is empty if it could not be read.
    """

    identity: bytes
    flags: int
    rcode: int
    question: bytes
    edns: Edns | None
    tsig: Tsig | None = None
    """Of a query that is signed; the reply to it has one too."""


class Query(NamedTuple):
    """One question; `name` is its lower-cased wire name, `question` the octets as received."""

    identity: bytes
    flags: int
    name: bytes
    qtype: int
    qclass: int
    question: bytes
    edns: Edns | None


SHORT = Dropped("short")
RESPONSE = Dropped("response")


def parse(packet: bytes) -> Query | Dataless | Dropped:
    """The query in `packet`, or how to treat a packet that contains none."""
    if len(packet) < 12:
        return SHORT
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    if flags & 0x8000:
        return RESPONSE
    identity = packet[:2]
    opcode = flags & 0x7800
    question, end = b"", 12
    name, qtype, qclass = b"", 0, 0
    if questions == 1:
        end = _end_of_question(packet)
        if not end:
            return Dataless(identity, flags, NOTIMP if opcode else FORMERR, b"", None)
        question = packet[12:end]
        name = question[:-4].lower()
        qtype, qclass = _PAIR.unpack_from(question, len(question) - 4)
    elif questions:
        return Dataless(identity, flags, NOTIMP if opcode else FORMERR, b"", None)
    well_formed, edns, tsig = _read_records(packet, end, answers + authorities, additionals)
    if opcode:  # RFC 8906 §3.1.4: opcode and id go back, nothing else
        return Dataless(identity, flags, NOTIMP, b"", edns)
    if not questions and well_formed and edns is not None and edns.cookie is not None:
        return Dataless(identity, flags, edns.fault, b"", edns)  # RFC 7873 §5.4
    # RFC 9619 §4: one question; only IXFR has a further record, its SOA (RFC 1995 §3).
    brought = 1 if qtype == IXFR and authorities == 1 else 0
    if not well_formed or questions != 1 or answers + authorities != brought:
        return Dataless(identity, flags, FORMERR, question, edns)
    if tsig is not None:  # nothing else of it may be looked at (RFC 8945 §5.2.1)
        return Dataless(identity, flags, NOTAUTH, question, edns, tsig)
    if edns is not None and edns.fault != NOERROR:
        return Dataless(identity, flags, edns.fault, question, edns)
    return Query(identity, flags, name, qtype, qclass, question, edns)


def _end_of_question(packet: bytes) -> int:
    """The offset after the question at 12; 0 if the question is malformed.

    It may contain no pointers, as no name precedes it, and no label above 63 octets (RFC 1035
    §4.1.4).
    """
    size = len(packet)
    offset = 12
    length = 1
    while length:
        if offset >= size or offset >= _NAME_END:
            return 0
        length = packet[offset]
        if length > _MAX_LABEL:
            return 0
        offset += length + 1
    end = offset + 4
    return end if offset <= _NAME_END and end <= size else 0


def _read_records(
    packet: bytes, offset: int, others: int, last: int
) -> tuple[bool, Edns | None, Tsig | None]:
    """Whether all records after the question are well-formed to the end; OPT and TSIG if any.

    `last` is the number of records in the additional section. Only that section may contain an OPT,
    at most one, owned by the root (RFC 6891 §6.1.1), and TSIG as its last record (RFC 8945 §5.1).
    """
    total = others + last
    if total > MAX_RECORDS:
        return False, None, None
    size = len(packet)
    edns: Edns | None = None
    tsig: Tsig | None = None
    for index in range(total):
        owner_at = offset
        rooted = offset < size and not packet[offset]
        offset = offset + 1 if rooted else _end_of_owner(packet, offset)
        if not offset or offset + 10 > size:
            return False, edns, None
        kind, payload, ttl, length = _RECORD.unpack_from(packet, offset)
        offset += 10 + length
        if offset > size:
            return False, edns, None
        if kind == OPT:
            if index < others or not rooted or edns is not None:
                return False, edns, None
            edns = read_opt(payload, ttl, packet[offset - length : offset])
        elif kind == TSIG:
            tsig = read_tsig(packet, owner_at, offset - length - 10)
            if tsig is None or index < others or index + 1 < total:
                return False, edns, None
    return offset == size, edns, tsig


def _end_of_owner(packet: bytes, offset: int) -> int:
    """The offset after a record's owner, which may end in a backward pointer; 0 if malformed."""
    start, size = offset, len(packet)
    while offset < size and offset - start < 255:
        length = packet[offset]
        if length >= 0xC0:
            backwards = offset + 2 <= size and ((length & 0x3F) << 8 | packet[offset + 1]) < start
            return offset + 2 if backwards else 0
        if length > _MAX_LABEL:
            return 0
        offset += length + 1
        if not length:
            return offset
    return 0
