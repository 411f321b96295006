"""One function answers every DNS message, from octets to octets, over UDP and TCP.

    packet → fast lane: a plain query with one IPv4 /24 client subnet for a steered name
           → slow lane: everything else, by the strict parser

Both return the same octets, which a property test checks. No sockets, no clocks, no logs.
"""

from __future__ import annotations

import struct

from firsthop_dns.answer import rate_limit as limits
from firsthop_dns.answer.answering import AA, HEADER, QR, RD, Answering
from firsthop_dns.answer.client_keys import UDP6, PeerAddress, TransportKind
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.requester import check_cookie
from firsthop_dns.wire.cookies import CLIENT_PART
from firsthop_dns.wire.edns import BADCOOKIE, DO, FORMERR, NOERROR, NOTIMP, SERVFAIL, write_opt
from firsthop_dns.wire.query import Dataless, Dropped, parse
from firsthop_steering.feed.demand import SAMPLED

_OPCODE = 0x7800
_TAIL = struct.Struct(">IHIQBI")
_CLASS_AND_OPT = 0x01_00_0029
"""Last octet of QCLASS IN, root owner, type OPT."""
_SUBNET_24 = 0x000B_0008_0007_0001
_TAIL_END = 27
"""Octets from the root label of the question to the end of a packet that has this tail."""
_MAX_ANSWERS = 8
_ONE_OCTET = [bytes([24, scope]) for scope in range(129)]
"""SOURCE and SCOPE of the returned subnet option, by scope."""
_PLAIN = {
    struct.pack(">HHHHH", flags, 1, 0, 0, 1): [
        struct.pack(">HHHHH", QR | AA | flags & RD, 1, answers, 0, 1)
        for answers in range(_MAX_ANSWERS + 1)
    ]
    for flags in (rd | ad | cd for rd in (0, RD) for ad in (0, 0x20) for cd in (0, 0x10))
}
"""Flags and counts of a plain query with one additional record → those of its answer."""


def respond(
    packet: bytes, peer: PeerAddress, tables: Tables, now: float, transport: TransportKind
) -> bytes | None:
    """The reply to one DNS message, or None if it must stay unanswered.

    `peer` is the sender as `socket.recvfrom` returns it, `now` seconds since 1970. Never raises for
    any octets; every message is counted once as a request, and once as a response or a drop.
    """
    heads = _PLAIN.get(packet[2:12])
    if heads is not None:
        root = packet.find(0, 12)
        question = packet[12 : root + 5]
        # Folding case is safe over type and class too: none of A, AAAA, IN has an upper-case octet.
        lane = tables.lanes.get(question.lower())
        if lane is not None and len(packet) == root + _TAIL_END and peer[1]:
            fixed, _, flags, option, source, address = _TAIL.unpack_from(packet, root + 4)
            if (
                fixed == _CLASS_AND_OPT
                and option == _SUBNET_24
                and source == 24
                and address < 0x1000000  # its first octet is SCOPE, 0 in queries
                and not flags & ~DO
            ):
                answer, scope = lane.lookup(4, address << 8)
                variant = lane.variants[answer] or lane.fill(answer)
                if variant is not None:
                    if transport <= UDP6:
                        verdict = tables.limit(limits.TAILORED, peer[0], transport == UDP6, now)
                        if verdict != limits.PASS:
                            return _strictly(packet, peer, tables, now, transport, verdict)
                    values = tables.values
                    values[lane.requests + transport] += 1
                    values[lane.noerror] += 1
                    values[variant[3]] = count = values[variant[3]] + 1
                    if not count & SAMPLED:
                        tables.survey.note(variant[3], 4, address << 8)
                    return b"".join(
                        (
                            packet[:2],
                            heads[variant[0]],
                            question,
                            variant[2] if flags else variant[1],
                            _ONE_OCTET[scope],
                            packet[-3:],
                        )
                    )
    return respond_strictly(packet, peer, tables, now, transport)


def respond_strictly(
    packet: bytes, peer: PeerAddress, tables: Tables, now: float, transport: TransportKind
) -> bytes | None:
    """`respond` without its fast lane."""
    return _strictly(packet, peer, tables, now, transport, None)


def _strictly(
    packet: bytes,
    peer: PeerAddress,
    tables: Tables,
    now: float,
    transport: TransportKind,
    verdict: int | None,
) -> bytes | None:
    """The slow lane; `verdict` is the rate limit's, if the fast lane has obtained it already."""
    parsed = parse(packet)
    if isinstance(parsed, Dropped):
        _drop(tables, transport, parsed.reason)
        return None
    if not peer[1]:  # port 0 is forged: nothing can be sent there (RFC 6335 §6)
        _drop(tables, transport, "port_zero")
        return None
    if isinstance(parsed, Dataless):
        return _reply_without_data(parsed, peer, tables, now, transport)
    return Answering(len(packet), parsed, peer, tables, now, transport).reply(verdict)


def failure(packet: bytes, tables: Tables, transport: TransportKind) -> bytes:
    """SERVFAIL for a packet on which `respond` raised, which is a fault of this program."""
    tables.counters.asked("", 0, transport)
    tables.counters.answered("", SERVFAIL)
    flags = QR | SERVFAIL | int.from_bytes(packet[2:4], "big") & RD
    return packet[:2] + HEADER.pack(flags, 0, 0, 0, 0)


def _drop(tables: Tables, transport: TransportKind, reason: str) -> None:
    tables.counters.asked("", 0, transport)
    tables.counters.dropped(reason)


def _reply_without_data(
    query: Dataless, peer: PeerAddress, tables: Tables, now: float, transport: TransportKind
) -> bytes | None:
    """An rcode without data; OPT goes back whenever one came (RFC 6891 §6.1.1, §7)."""
    rcode = query.rcode
    cookie, valid = check_cookie(query.edns, peer, transport, now, cookies=tables.instance.cookies)
    if rcode == NOERROR:  # a cookie and nothing else (RFC 7873 §5.4)
        if not cookie:
            rcode = FORMERR
        elif not valid and query.edns and len(query.edns.cookie or b"") > CLIENT_PART:
            rcode = BADCOOKIE
    if not valid and transport <= UDP6:
        verdict = tables.limit(limits.ERROR, peer[0], transport == UDP6, now)
        if verdict == limits.DROP:
            _drop(tables, transport, "rate_limit")
            return None
    tables.counters.asked("", 0, transport)
    tables.counters.answered("", rcode)
    if rcode == NOTIMP:  # RFC 8906 §3.1.4: opcode copied, every other flag 0
        flags = QR | query.flags & _OPCODE | NOTIMP
    else:
        flags = QR | query.flags & RD | rcode & 0xF
    opt = b""
    if query.edns is not None:
        opt = write_opt(query.edns.dnssec_ok, rcode, cookie)
    tsig = b"" if query.tsig is None else query.tsig.refused(now)
    additionals = (1 if opt else 0) + (1 if tsig else 0)
    counts = HEADER.pack(flags, 1 if query.question else 0, 0, 0, additionals)
    return query.identity + counts + query.question + opt + tsig
