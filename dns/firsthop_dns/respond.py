"""One function from wire to wire answers every DNS message, over UDP and TCP alike.

    packet → fast lane: a plain query with one IPv4 /24 client subnet for a steered name
           → slow lane: everything else, by the strict parser

Both give the same octets; a property test holds them together. No sockets, no clocks, no logs.
"""

from __future__ import annotations

import struct

from firsthop_dns.clients import UDP6, Peer, Transport, key_of_peer, key_of_subnet
from firsthop_dns.counters import DROPPED, OTHER_TYPE, TYPE_LABELS
from firsthop_dns.edns import (
    DO,
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    OPT,
    PAYLOAD,
    PLAIN_PAYLOAD,
    RCODE_NAMES,
    REFUSED,
    SERVFAIL,
    Edns,
    subnet_option,
    write_opt,
)
from firsthop_dns.layout import OTHER_TYPES
from firsthop_dns.mapped import Node
from firsthop_dns.tables import RECORD_SIZE, Tables
from firsthop_dns.whoami import whoami_strings
from firsthop_dns.wire import (
    AAAA,
    ANY,
    CNAME,
    HINFO,
    IN,
    NXNAME,
    TXT,
    Dropped,
    Faulty,
    Query,
    parse,
)

_QR, _AA, _TC, _RD = 0x8000, 0x0400, 0x0200, 0x0100
_OPCODE = 0x7800
_LARGEST_TCP = 65_535
_FIRST_META, _LAST_META = 129, 254
"""QTYPEs and meta-TYPEs that no RRset has (RFC 6895 §3.1): transfers, TSIG, TKEY, MAILB …"""

_HEADER = struct.Struct(">HHHHH")
_RECORD = struct.Struct(">HHHIH")
_POINTER = 0xC00C
_MINIMAL_ANY = _RECORD.pack(_POINTER, HINFO, IN, 3600, 9) + b"\x07RFC8482\x00"
"""All that ANY is told (RFC 8482 §4.2)."""

_TAIL = struct.Struct(">IHIQBI")
_CLASS_AND_OPT = 0x01_00_0029
"""Last octet of QCLASS IN, root owner, type OPT."""
_SUBNET_24 = 0x000B_0008_0007_0001
_TAIL_END = 27
"""Octets from the root label of the question to the end of a packet that has this tail."""
_MOST_ANSWERS = 8
_ONE_OCTET = [bytes([24, scope]) for scope in range(129)]
"""SOURCE and SCOPE of the subnet that goes back, by scope."""
_PLAIN = {
    struct.pack(">HHHHH", flags, 1, 0, 0, 1): [
        struct.pack(">HHHHH", _QR | _AA | flags & _RD, 1, answers, 0, 1)
        for answers in range(_MOST_ANSWERS + 1)
    ]
    for flags in (rd | ad | cd for rd in (0, _RD) for ad in (0, 0x20) for cd in (0, 0x10))
}
"""Flags and counts of a plain query with one additional record → those of its answer."""


def respond(
    packet: bytes, peer: Peer, tables: Tables, now: float, transport: Transport
) -> bytes | None:
    """The reply to one DNS message, or None when it must stay unanswered.

    `peer` is the sender as `socket.recvfrom` gives it, `now` seconds since 1970. Never raises for
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
                    values = tables.counters.values
                    values[lane.requests + transport] += 1
                    values[lane.noerror] += 1
                    values[variant[3]] += 1
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
    packet: bytes, peer: Peer, tables: Tables, now: float, transport: Transport
) -> bytes | None:
    """`respond` without its fast lane."""
    parsed = parse(packet)
    if isinstance(parsed, Dropped):
        _drop(tables, transport, parsed.reason)
        return None
    if not peer[1]:  # nobody can receive at port 0: forged (RFC 6335 §6)
        _drop(tables, transport, "port_zero")
        return None
    if isinstance(parsed, Faulty):
        return _reply_to_faulty(parsed, tables, transport)
    return _Answering(parsed, peer, tables, now, transport).reply()


def failure(packet: bytes, tables: Tables, transport: Transport) -> bytes:
    """SERVFAIL for a packet on which `respond` raised: our fault, told rather than silent."""
    _count(tables, transport, "", 0, SERVFAIL)
    flags = _QR | SERVFAIL | int.from_bytes(packet[2:4], "big") & _RD
    return packet[:2] + _HEADER.pack(flags, 0, 0, 0, 0)


def _drop(tables: Tables, transport: Transport, reason: str) -> None:
    counters = tables.counters
    counters.values[counters.requests("", OTHER_TYPE) + transport] += 1
    counters.values[counters.slot(DROPPED, {"reason": reason})] += 1


def _count(tables: Tables, transport: Transport, zone: str, qtype: int, rcode: int) -> None:
    counters = tables.counters
    kind = TYPE_LABELS.get(qtype, OTHER_TYPE)
    counters.values[counters.requests(zone, kind) + transport] += 1
    counters.values[counters.response(zone, RCODE_NAMES[rcode])] += 1


def _reply_to_faulty(faulty: Faulty, tables: Tables, transport: Transport) -> bytes:
    """An rcode without data; OPT goes back whenever one came (RFC 6891 §6.1.1, §7)."""
    _count(tables, transport, "", 0, faulty.rcode)
    if faulty.rcode == NOTIMP:  # RFC 8906 §3.1.4: opcode copied, every other flag 0
        flags = _QR | faulty.flags & _OPCODE | NOTIMP
    else:
        flags = _QR | faulty.flags & _RD | faulty.rcode & 0xF
    opt = b""
    if faulty.edns is not None:
        opt = write_opt(faulty.edns.dnssec_ok, faulty.rcode, b"")
    counts = _HEADER.pack(flags, 1 if faulty.question else 0, 0, 0, 1 if opt else 0)
    return faulty.identity + counts + faulty.question + opt


class _Answering:
    """One query on the slow lane."""

    __slots__ = ("now", "peer", "query", "scope", "tables", "transport", "zone")

    def __init__(
        self, query: Query, peer: Peer, tables: Tables, now: float, transport: Transport
    ) -> None:
        self.query = query
        self.peer = peer
        self.tables = tables
        self.now = now
        self.transport = transport
        self.zone = ""
        self.scope = 0
        """RFC 7871 §7.2.1: 0 for all that is the same for everybody, negative answers included."""

    def reply(self) -> bytes:
        """The whole answer."""
        query = self.query
        if query.qtype == NXNAME:  # a type that is never asked for (RFC 9824 §3.5)
            return self._message(FORMERR)
        meta = _FIRST_META <= query.qtype <= _LAST_META or query.qtype in (0, OPT)
        if query.qclass != IN or meta:
            return self._message(REFUSED)
        found = self.tables.zones.find(query.name)
        if found is None:
            return self._message(REFUSED)  # no upward referral (RFC 8906 §3)
        node, exact = found
        self.zone = node.zone.label
        if not exact:  # nothing is here or below (RFC 8020 §2)
            return self._negative(NXDOMAIN, node)
        return self._at(node)

    def _at(self, node: Node) -> bytes:
        """The answer at a name that exists."""
        qtype = self.query.qtype
        if node.service is not None and qtype in RECORD_SIZE:
            return self._steered(node, node.service)
        if node.whoami and qtype == TXT:
            return self._whoami(node)
        place = node.types.get(qtype)
        if place is None and qtype == ANY:
            place = node.types.get(CNAME)
            if place is None and (node.types or node.whoami or node.service is not None):
                return self._message(NOERROR, 1, 0, _MINIMAL_ANY)
        if place is None:
            place = node.types.get(OTHER_TYPES)
        if place is None:
            return self._negative(NOERROR, node)
        body = self.tables.zones.body(place)
        return self._message(body.rcode, body.answers, body.authorities, body.octets)

    def _steered(self, node: Node, index: int) -> bytes:
        service = self.tables.services[index]
        subnet = self.query.edns.subnet if self.query.edns else None
        if subnet is not None and subnet.source and service.table.ecs:
            family, key, embedded = key_of_subnet(subnet)
            answer, scope = service.table.lookup(family, key)
            scope += embedded
        else:  # SOURCE 0 asks not to be told apart (RFC 7871 §7.1.2)
            family, key, _ = key_of_peer(self.peer, self.transport)
            answer, scope = service.table.lookup(family, key)[0], 0
        qtype = self.query.qtype
        octets = self.tables.zones.rrset(index, answer, qtype == AAAA)
        if octets or not service.table.answers[answer].region:
            self.tables.counters.values[service.slots[answer]] += 1
        if not octets:
            # Resolvers take negative answers for everybody's (RFC 7871 §7.4), so not for long.
            return self._negative(NOERROR, node, service.table.ttl)
        self.scope = scope
        return self._message(NOERROR, len(octets) // RECORD_SIZE[qtype], 0, octets)

    def _whoami(self, node: Node) -> bytes:
        """TXT that says how the asker is seen; TTL 0, since it is true for this asker only."""
        subnet = self.query.edns.subnet if self.query.edns else None
        strings = whoami_strings(
            self.tables, node.zone, self.peer, self.transport, subnet, self.now
        )
        data = b"".join(bytes([len(each)]) + each for each in strings)
        self.scope = subnet.source if subnet else 0
        record = _RECORD.pack(_POINTER, TXT, IN, 0, len(data)) + data
        return self._message(NOERROR, 1, 0, record)

    def _negative(self, rcode: int, node: Node, most: int | None = None) -> bytes:
        """NXDOMAIN or NODATA with the zone's SOA (RFC 2308 §2)."""
        soa = node.zone.negative(len(self.query.name), most)
        return self._message(rcode, 0, 1, soa)

    def _message(
        self, rcode: int, answers: int = 0, authorities: int = 0, octets: bytes = b""
    ) -> bytes:
        query, edns = self.query, self.query.edns
        _count(self.tables, self.transport, self.zone, query.qtype, rcode)
        opt = b""
        if edns is not None:
            # Once asked, ECS is in every answer but FORMERR (RFC 7871 §7.2.1).
            subnet = None if rcode == FORMERR else edns.subnet
            options = b"" if subnet is None else subnet_option(subnet, self.scope)
            opt = write_opt(edns.dnssec_ok, rcode, options)
        flags = _QR | query.flags & _RD | rcode & 0xF
        if rcode in (NOERROR, NXDOMAIN):
            flags |= _AA
        if 12 + len(query.question) + len(octets) + len(opt) > self._limit(edns):
            # None of an RRset is better than some of it (RFC 2181 §9).
            flags, answers, authorities, octets = flags | _TC, 0, 0, b""
        counts = _HEADER.pack(flags, 1, answers, authorities, 1 if opt else 0)
        return b"".join((query.identity, counts, query.question, octets, opt))

    def _limit(self, edns: Edns | None) -> int:
        if self.transport > UDP6:
            return _LARGEST_TCP
        if edns is None:
            return PLAIN_PAYLOAD
        # Below 512 means 512 (RFC 6891 §6.2.3).
        return max(PLAIN_PAYLOAD, min(edns.payload, PAYLOAD))
