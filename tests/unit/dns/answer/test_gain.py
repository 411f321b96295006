"""Forged queries gain nobody much, and ordinary answers are never sent over TCP for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.answer.client_keys import TCP4, UDP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import MAX_NSID, Instance
from firsthop_dns.answer.rate_limit import GAIN_A_SECOND, SERVER_GAIN_A_SECOND
from firsthop_dns.answer.respond import respond
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from wire.corpus import KINDS, corpus
from wire.sample import Compiled, compiled, zone

PEER = ("192.0.2.200", 5353)
ELSEWHERE = ("198.51.100.200", 5353)
NOW = 1_800_000_000.0
OWNERS = sorted({str(name) for name, _ in zone().iterate_rdatasets()})
NAMES = [*OWNERS, "geo.example.test", "open.example.test", "whoami.example.test", "apex.test", "."]
CLIENT = b"abcdefgh"
OPTIONS = [
    dns.edns.GenericOption(10, CLIENT),
    dns.edns.GenericOption(3, b""),
    dns.edns.ECSOption("198.51.100.0", 24, 0),
    dns.edns.ECSOption("2001:db8:1::", 56, 0),
    dns.edns.GenericOption(8, b"bad"),
    dns.edns.GenericOption(12, bytes(20)),
]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The whole sample zone, with its long answers."""
    folder: Path = tmp_path_factory.mktemp("suite")
    return compiled(folder)


ORDINARY = [
    ("shop.test", kind) for kind in ("A", "AAAA", "NS", "SOA", "MX", "TXT", "CAA", "ANY", "HTTPS")
]
ORDINARY += [
    ("mail2026._domainkey.shop.test", "TXT"),
    ("_dmarc.shop.test", "TXT"),
    ("_sip._udp.shop.test", "SRV"),
    *((name, kind) for name in ("cdn.shop.test", "www.shop.test") for kind in ("A", "AAAA")),
    ("a.cloud.shop.test", "A"),
    ("nosuch.shop.test", "A"),
    ("x.dev.shop.test", "A"),
]
"""Queries for a zone as companies have them."""


@pytest.fixture(scope="module")
def realistic(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """That zone."""
    return compiled(tmp_path_factory.mktemp("realistic"), name="realistic.yaml")


def edge(suite: Compiled, **options: Any) -> Tables:
    """An edge that has much to say beside its answers."""
    told = {"cookie_secrets": ["00" * 16], "nsid": "n" * MAX_NSID, "stale": True}
    return Tables(suite[0], Instance.of(DnsCounters(), {**told, **options}), geo=suite[1])


def query(name: str, kind: str, *options: dns.edns.Option, payload: int = 1232) -> bytes:
    """A query with EDNS."""
    made = dns.message.make_query(name, kind, use_edns=0, options=options, payload=payload)
    return made.to_wire()


def test_a_quiet_network_gets_every_ordinary_answer_at_once(realistic: Compiled) -> None:
    """No TC to a stranger, with EDNS and without; what has more than 512 octets needs EDNS."""
    tables = edge(realistic, nsid="", stale=False)
    for name, kind in ORDINARY:
        reply = respond(query(name, kind), PEER, tables, NOW, UDP4) or b""
        assert not reply[2] & 2, (name, kind)
        plain = dns.message.make_query(name, kind).to_wire()
        reply = respond(plain, PEER, tables, NOW, UDP4) or b""
        whole = respond(plain, PEER, tables, NOW, TCP4) or b""
        assert bool(reply[2] & 2) is (len(whole) > 512), (name, kind)
    assert tables.counters.total("firsthop_dns_slipped_total") == 0


@pytest.mark.parametrize("rate", [500, 1000, 5000])
def test_a_flood_that_names_a_network_gains_at_most_three_times(
    realistic: Compiled, rate: int
) -> None:
    """Of the longest answers, for some seconds; clients elsewhere get all of it at once."""
    tables = edge(realistic, nsid="", stale=False)
    packet = query("mail2026._domainkey.shop.test", "TXT")
    sent, whole = 0, 0
    for number in range(2 * rate):
        now = NOW + number / rate
        sent += len(respond(packet, PEER, tables, now, UDP4) or b"")
        if not number % 50:
            reply = respond(packet, ELSEWHERE, tables, now, UDP4) or b""
            whole += bool(dns.message.from_wire(reply).answer)
    assert sent <= 3 * len(packet) * 2 * rate
    assert whole == 2 * rate / 50


def test_no_flood_of_any_queries_gains_more_than_the_budget(suite: Compiled) -> None:
    """10,000 packets of the corpus in one second, with the rate limit's replies counted out."""
    tables = edge(suite)
    came = sent = longer = 0
    for packet, _ in corpus(10_000, seed=65, long_answers=True):
        reply = respond(packet, PEER, tables, NOW, UDP4) or b""
        came, sent = came + len(packet), sent + len(reply)
        longer += len(reply) > 3 * len(packet)
    assert longer > 20
    assert sent <= 3 * came


def test_beyond_the_budget_long_replies_are_truncated_and_none_is_lost(suite: Compiled) -> None:
    """Until the second is over; a client's cookie gets BADCOOKIE, so that it needs no TCP."""
    tables = edge(suite, rate_limit=20_000, nsid="")
    packet = query("big.example.test", "TXT")
    replies = [respond(packet, PEER, tables, NOW, UDP4) or b"" for _ in range(1800)]
    whole = [each for each in replies if not each[2] & 2]
    gain = len(whole[0]) - 3 * len(packet)
    assert all(replies)
    assert len(whole) == 10 * GAIN_A_SECOND // gain
    assert len(replies[-1]) <= len(packet) + 6  # its extended error
    short = respond(query("www.example.test", "A"), PEER, tables, NOW, UDP4) or b""
    assert dns.message.from_wire(short).answer
    client = query("big.example.test", "TXT", OPTIONS[0])
    told = dns.message.from_wire(respond(client, PEER, tables, NOW, UDP4) or b"")
    assert told.rcode() == dns.rcode.BADCOOKIE
    again = respond(query("big.example.test", "TXT", *told.options), PEER, tables, NOW, UDP4)
    assert len(dns.message.from_wire(again or b"").answer[0]) == 3
    for peer, now, transport in ((PEER, NOW + 1, UDP4), (ELSEWHERE, NOW, UDP4), (PEER, NOW, TCP4)):
        assert not (respond(packet, peer, tables, now, transport) or b"")[2] & 2


def test_a_flood_that_names_many_networks_is_bounded_for_the_whole_server(suite: Compiled) -> None:
    """Each of them is quiet; what is answered beyond the budget is TC, and short answers go out."""
    tables = edge(suite, nsid="", stale=False)
    packet = query("big.example.test", "TXT")
    came = sent = 0
    for number in range(4000):
        reply = respond(packet, (f"10.{number >> 8}.{number & 255}.1", 9), tables, NOW, UDP4)
        assert reply
        came, sent = came + len(packet), sent + len(reply)
    assert sent <= SERVER_GAIN_A_SECOND + 3 * came
    reply = respond(query("www.example.test", "A"), ELSEWHERE, tables, NOW, UDP4) or b""
    assert dns.message.from_wire(reply).answer
    assert not (respond(packet, ("127.0.0.1", 9), tables, NOW, UDP4) or b"")[2] & 2  # exempt


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.none() | st.lists(st.sampled_from(OPTIONS), max_size=4),
    st.sampled_from([0, 512, 700, 1232, 65535]),
    st.sampled_from([512, 900, 1232]),
)
def test_a_stranger_gets_what_everybody_gets_or_is_sent_to_tcp(
    suite: Compiled,
    name: str,
    kind: str,
    options: list[dns.edns.Option] | None,
    payload: int,
    max_udp: int,
) -> None:
    """Within the room that it offers and the operator's bound; else TC, and no part of the rest."""
    tables = edge(suite, max_udp=max_udp)
    made = dns.message.make_query(
        name, kind, use_edns=False if options is None else 0, options=options, payload=payload
    )
    packet = made.to_wire()
    octets, all_of_it = (respond(packet, PEER, tables, NOW, each) for each in (UDP4, TCP4))
    assert octets is not None
    assert all_of_it is not None
    room = 512 if options is None else max(512, min(payload, max_udp))
    assert len(octets) <= room
    reply, whole = dns.message.from_wire(octets), dns.message.from_wire(all_of_it)
    assert (reply.rcode(), reply.question, reply.edns) == (
        whole.rcode(),
        whole.question,
        whole.edns,
    )
    if reply.flags & dns.flags.TC:
        assert reply.answer == reply.authority == reply.additional == []
        assert len(all_of_it) > room or name.startswith("whoami")
    else:
        assert (reply.answer, reply.authority) == (whole.answer, whole.authority)


@pytest.mark.parametrize("size", [MAX_NSID, MAX_NSID + 1])
def test_the_longest_nsid_is_just_no_lever(suite: Compiled, size: int) -> None:
    """The worst case is a refusal of the shortest question; a longer NSID would gain more."""
    packet = query(".", "A", OPTIONS[1])
    reply = respond(packet, PEER, edge(suite, nsid="n" * size), NOW, UDP4)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED
    assert (len(reply) <= 3 * len(packet)) is (size == MAX_NSID)


def test_what_is_truncated_is_no_answer_of_a_region(
    sample: tuple[AnswerTable, GeoTable],
) -> None:
    """It is counted when it goes out, over TCP: else every such client would count twice."""
    tables = Tables(sample[0], Instance.of(DnsCounters(), {"rate_limit": 1}), geo=sample[1])
    packet = dns.message.make_query("many.example.test", "AAAA").to_wire()
    for transport, answers in ((UDP4, 0), (TCP4, 1)):
        assert respond(packet, PEER, tables, NOW, transport) is not None
        assert tables.counters.total("firsthop_region_answers_total") == answers
    assert tables.counters.total("firsthop_dns_slipped_total") == 1
