"""The slow lane: answers any parsed query from the tables.

    parsed query → outcome (rcode, records) → options → size and rate limits → octets

No sockets, no clocks, no logs.
"""

from __future__ import annotations

import struct

from firsthop_dns.answer import rate_limit as limits
from firsthop_dns.answer.alias_chain import Trail
from firsthop_dns.answer.client_keys import UDP6, ClientKey, PeerAddress, TransportKind, key_of_peer
from firsthop_dns.answer.counters import SLIPPED
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.requester import check_cookie, client_of
from firsthop_dns.answer.response import Response, kind_of
from firsthop_dns.answer.whoami import Asker, whoami_strings
from firsthop_dns.table.layout import OTHER_TYPES, REFERRAL, STEERED
from firsthop_dns.table.mapped import MappedName, ZoneView
from firsthop_dns.wire.edns import (
    BADCOOKIE,
    FORMERR,
    NOERROR,
    NXDOMAIN,
    OPT,
    PLAIN_PAYLOAD,
    REFUSED,
    SERVFAIL,
    extended_error,
    keepalive_option,
    nsid_option,
    subnet_option,
    write_opt,
)
from firsthop_dns.wire.extended_errors import (
    INVALID_QUERY_TYPE,
    NOT_AUTHORITATIVE,
    NOT_READY,
    NOT_SUPPORTED,
    PROHIBITED,
)
from firsthop_dns.wire.names import behind_owner
from firsthop_dns.wire.query import (
    ANY,
    AXFR,
    CNAME,
    DS,
    HINFO,
    IN,
    IXFR,
    NXNAME,
    TXT,
    Query,
)
from firsthop_steering.feed.demand import SAMPLED

QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
HEADER = struct.Struct(">HHHHH")
"""Flags and the four counts, which follow the id."""
_LARGEST_TCP = 65_535
_FIRST_META, _LAST_META = 129, 254
"""QTYPEs and meta-TYPEs that no RRset has (RFC 6895 §3.1): transfers, TSIG, TKEY, MAILB …"""
_RECORD = struct.Struct(">HHHIH")
_POINTER = 0xC00C
_TTL = 4
"""Offset of the TTL from the type of a record."""
_MINIMAL_ANY = _RECORD.pack(_POINTER, HINFO, IN, 3600, 9) + b"\x07RFC8482\x00"
"""The answer to ANY (RFC 8482 §4.2)."""


class Answering:
    """Answers one query."""

    __slots__ = (
        "_client",
        "_genuine",
        "_now",
        "_peer",
        "_query",
        "_query_size",
        "_scope",
        "_slot",
        "_tables",
        "_transport",
        "_zone",
    )

    def __init__(
        self,
        query_size: int,
        query: Query,
        peer: PeerAddress,
        tables: Tables,
        now: float,
        transport: TransportKind,
    ) -> None:
        self._query_size = query_size
        """Octets of the query."""
        self._query = query
        self._peer = peer
        self._tables = tables
        self._now = now
        self._transport = transport
        self._zone = ""
        self._scope = 0
        """The answer's scope: 0 if it is the same for all clients or negative (RFC 7871 §7.2.1)."""
        self._slot: int | None = None
        """The counter slot of the answering region, counted when the reply is sent."""
        self._client: ClientKey | None = None
        """The client that is answered with that region."""
        self._genuine = False
        """Whether the source address of the query is proved (TCP, or a valid cookie)."""

    def reply(self, verdict: int | None = None) -> bytes | None:
        """The whole reply; None if the rate limit drops it; `verdict` is its verdict, if known."""
        query, tables = self._query, self._tables
        cookie, valid = check_cookie(
            query.edns, self._peer, self._transport, self._now, cookies=tables.instance.cookies
        )
        self._genuine = valid or self._transport > UDP6
        found = self._outcome()
        opt = b"" if query.edns is None else self._opt(found, cookie)
        outcome = self._fitted(found, len(opt))
        if not self._genuine:
            kind = kind_of(found)
            if verdict is None:
                verdict = self._verdict(kind, self._size(outcome, len(opt)))
            if verdict == limits.DROP:
                tables.counters.asked(self._zone, query.qtype, self._transport)
                tables.counters.dropped("rate_limit")
                return None
            if verdict == limits.SLIP and kind != limits.ERROR:
                outcome = self._slipped(outcome, cookie)
                opt = b"" if query.edns is None else self._opt(outcome, cookie)
        return self._message(outcome, opt)

    def _verdict(self, kind: int, size: int) -> int:
        """The rate limit's verdict on a reply of `size` octets to an address that is not proved."""
        tables, host, ipv6 = self._tables, self._peer[0], self._transport == UDP6
        verdict = tables.limit(kind, host, ipv6, self._now)
        gain = size - limits.MAX_GAIN * self._query_size
        if verdict != limits.PASS or gain <= 0:
            return verdict
        return tables.gain_limit(gain, host, ipv6, self._now)

    def _outcome(self) -> Response:
        query, tables = self._query, self._tables
        if query.qtype == NXNAME:  # NXNAME must not be queried (RFC 9824 §3.5)
            return Response(FORMERR, False, error=INVALID_QUERY_TYPE)
        if query.qclass != IN:
            return Response(REFUSED, False, error=NOT_SUPPORTED)
        if query.qtype in (AXFR, IXFR):
            return Response(REFUSED, False, error=PROHIBITED)
        if _FIRST_META <= query.qtype <= _LAST_META or query.qtype in (0, OPT, REFERRAL):
            return Response(REFUSED, False, error=NOT_SUPPORTED)
        if not tables.ready:
            return Response(SERVFAIL, False, error=NOT_READY)
        node = tables.zones.find(query.name)
        if node is None:  # no upward referral (RFC 8906 §3)
            return Response(REFUSED, False, error=NOT_AUTHORITATIVE)
        self._zone = node.zone.label
        has_suffix = len(query.name) != len(node.name)
        if node.cut and (has_suffix or query.qtype != DS):
            return self._stored(node.types[REFERRAL], node, literal=True)
        if not has_suffix:
            return self._at(node)
        if node.renames:
            return self._followed(node)
        source = tables.zones.wildcard(node)
        if source is None:  # nothing is here or below (RFC 8020 §2)
            return self._negative(NXDOMAIN, node.zone)
        return self._at(source)

    def _at(self, node: MappedName) -> Response:
        """The answer at a name that exists or is synthesised from a wildcard."""
        qtype = self._query.qtype
        if node.service is not None and qtype in STEERED:
            return self._steered(node, node.service)
        if node.whoami and qtype == TXT:
            return self._whoami(node)
        offset = node.types.get(qtype)
        if offset is None and qtype == ANY:
            offset = node.types.get(CNAME)
            if offset is None and (node.types or node.whoami or node.service is not None):
                return Response(NOERROR, True, 1, octets=_MINIMAL_ANY)
        if offset is None:
            offset = node.types.get(OTHER_TYPES)
        if offset is not None:
            return self._stored(offset, node)
        if CNAME in node.types:  # only at a wildcard
            return self._followed(node)
        return self._negative(NOERROR, node.zone)

    def _stored(self, offset: int, node: MappedName, *, literal: bool = False) -> Response:
        """A stored body; `literal` if it belongs to a name above, even if that begins with `*`."""
        body = self._tables.zones.body(offset)
        answers, authorities, additionals, spare = body.counts
        return Response(
            body.rcode,
            body.authoritative,
            answers,
            authorities,
            additionals,
            body.behind(node.name, len(self._query.name), literal=literal),
            spare,
            body.spare_at,
        )

    def _followed(self, node: MappedName) -> Response:
        query = self._query
        trail = Trail(self._tables.zones, node.zone, query.name, query.qtype)
        trail.follow(node)
        return Response(
            trail.rcode, True, trail.answers, trail.authorities, trail.additionals, trail.octets
        )

    def _steered(self, node: MappedName, index: int) -> Response:
        service = self._tables.services[index]
        resolver = key_of_peer(self._peer, self._transport)
        client = client_of(self._query, self._peer, self._tables.instance)
        answer, scope = service.choose(client, resolver, self._query.qtype)
        self._client = client if client is not None and service.table.ecs else resolver
        chosen = service.table.answers[answer]
        count, octets = self._tables.zones.rrset(index, answer, STEERED.index(self._query.qtype))
        if octets or not chosen.region:
            self._slot = service.slots[answer]
        if not octets:
            # Resolvers cache negative answers for all clients (RFC 7871 §7.4): a short TTL.
            return self._negative(NOERROR, node.zone, chosen.ttl)
        self._scope = scope
        return Response(NOERROR, True, count, octets=octets, tailored=service.table.ecs)

    def _whoami(self, node: MappedName) -> Response:
        """TXT that shows how the server sees the requester; TTL 0, as it is valid for it only.

        It is far longer than the query, so over UDP only proved source addresses get it.
        """
        if not self._genuine:
            return Response(NOERROR, True, truncated=True)
        subnet = self._query.edns.subnet if self._query.edns else None
        client = client_of(self._query, self._peer, self._tables.instance)
        asker = Asker(self._peer, self._transport, subnet, client)
        strings = whoami_strings(self._tables, node.zone, asker, self._now)
        data = b"".join(bytes([len(each)]) + each for each in strings)
        self._scope = subnet.source if subnet else 0
        record = _RECORD.pack(_POINTER, TXT, IN, 0, len(data)) + data
        return Response(NOERROR, True, 1, octets=record)

    def _negative(self, rcode: int, zone: ZoneView, limit: int | None = None) -> Response:
        """NXDOMAIN or NODATA with the zone's SOA (RFC 2308 §2), with a TTL of at most `limit`."""
        body = self._tables.zones.body(zone.denial)
        octets = body.behind(zone.apex, len(self._query.name))
        if limit is not None and limit < zone.negative_ttl:
            ttl = behind_owner(octets) + _TTL
            octets = octets[:ttl] + limit.to_bytes(4, "big") + octets[ttl + 4 :]
        return Response(rcode, True, 0, 1, octets=octets)

    def _slipped(self, outcome: Response, cookie: bytes) -> Response:
        """The short reply over the rate limit: truncated, or BADCOOKIE, so clients retry."""
        self._slot, self._scope = None, 0
        self._tables.counters.count(SLIPPED)
        if cookie:  # it may retry at once with the cookie it gets (RFC 7873 §5.2.3)
            return Response(BADCOOKIE, False)
        return Response(outcome.rcode, outcome.authoritative, truncated=True)

    def _size(self, outcome: Response, opt_octets: int) -> int:
        """Octets of the message."""
        return 12 + len(self._query.question) + len(outcome.octets) + opt_octets

    def _fitted(self, outcome: Response, opt_octets: int) -> Response:
        """`outcome` within the room for it: without its spare records, else truncated."""
        room = self._room()
        if self._size(outcome, opt_octets) <= room:
            return outcome.with_spare() if outcome.spare else outcome
        if outcome.spare:
            outcome = outcome.without_spare()
            if self._size(outcome, opt_octets) <= room:
                return outcome
        self._slot = None  # no answer of the region is sent
        # RRsets are sent whole or not at all (RFC 2181 §9).
        return Response(outcome.rcode, outcome.authoritative, truncated=True)

    def _message(self, outcome: Response, opt: bytes) -> bytes:
        query = self._query
        rcode, authoritative, answers, authorities, additionals, octets, *_ = outcome
        self._tables.counters.asked(self._zone, query.qtype, self._transport)
        self._tables.counters.answered(self._zone, rcode)
        if self._slot is not None:
            self._count(self._slot)
        flags = QR | query.flags & RD | rcode & 0xF
        flags |= AA if authoritative else 0
        flags |= TC if outcome.truncated else 0
        counts = HEADER.pack(flags, 1, answers, authorities, additionals + (1 if opt else 0))
        return b"".join((query.identity, counts, query.question, octets, opt))

    def _count(self, slot: int) -> None:
        """Count an answer of a region, and sample the client who got it."""
        values = self._tables.values
        values[slot] += 1
        if not values[slot] & SAMPLED and self._client is not None:
            family, key, _ = self._client
            self._tables.survey.note(slot, family, key)

    def _opt(self, outcome: Response, cookie: bytes) -> bytes:
        query, instance = self._query, self._tables.instance
        edns = query.edns
        assert edns is not None
        options = [instance.notice] if self._slot is not None else []
        if outcome.error is not None:
            options.append(extended_error(outcome.error))
        if edns.nsid and instance.nsid:
            options.append(nsid_option(instance.nsid))
        options.append(cookie)
        if edns.keepalive and self._transport > UDP6:  # RFC 7828 §3.2.1: never over UDP
            options.append(keepalive_option(instance.tcp_idle_s))
        if edns.subnet is not None and outcome.rcode != FORMERR:
            # If the query has ECS, every answer but FORMERR has it too (RFC 7871 §7.2.1).
            options.append(subnet_option(edns.subnet, self._scope))
        return write_opt(edns.dnssec_ok, outcome.rcode, b"".join(options))

    def _room(self) -> int:
        """The largest reply that the requester accepts, in octets."""
        if self._transport > UDP6:
            return _LARGEST_TCP
        if self._query.edns is None:
            return PLAIN_PAYLOAD
        # Below 512 means 512 (RFC 6891 §6.2.3).
        return max(PLAIN_PAYLOAD, min(self._query.edns.payload, self._tables.instance.max_udp))
