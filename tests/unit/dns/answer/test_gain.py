"""Forging questions gains nobody much: what strangers get over UDP, and who gets all of it."""

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
from firsthop_dns.answer.counters import WITHHELD, DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import MAX_NSID, Instance
from firsthop_dns.answer.respond import respond
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from wire.corpus import KINDS, corpus
from wire.sample import Compiled, compiled, zone

PEER = ("192.0.2.200", 5353)
NOW = 1_800_000_000.0
Sample = tuple[AnswerTable, GeoTable]
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


def edge(suite: Compiled, **options: Any) -> Tables:
    """An edge that has much to say beside its answers, and no rate limit."""
    told = {"cookie_secrets": ["00" * 16], "nsid": "n" * MAX_NSID, "stale": True, "rate_limit": 0}
    return Tables(suite[0], Instance.of(DnsCounters(), {**told, **options}), geo=suite[1])


def test_no_packet_of_the_corpus_brings_more_than_three_times_its_octets(suite: Compiled) -> None:
    """10,000 packets, names with long answers too; some of them would bring more over TCP."""
    tables = edge(suite)
    longer = 0
    for packet, _ in corpus(10_000, seed=65, long_answers=True):
        reply = respond(packet, PEER, tables, NOW, UDP4) or b""
        assert len(reply) <= 3 * len(packet), packet.hex()
        longer += len(respond(packet, PEER, tables, NOW, TCP4) or b"") > 3 * len(packet)
    assert longer > 100


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.none() | st.lists(st.sampled_from(OPTIONS), max_size=4),
    st.sampled_from([0, 512, 1232, 65535]),
)
def test_a_stranger_gets_what_everybody_gets_or_is_sent_to_tcp(
    suite: Compiled, name: str, kind: str, options: list[dns.edns.Option] | None, payload: int
) -> None:
    """Three times at most; else the rcode and TC with question and OPT, and no part of the rest."""
    tables = edge(suite)
    query = dns.message.make_query(
        name, kind, use_edns=False if options is None else 0, options=options, payload=payload
    )
    packet = query.to_wire()
    octets, all_of_it = (respond(packet, PEER, tables, NOW, each) for each in (UDP4, TCP4))
    assert octets is not None
    assert all_of_it is not None
    assert len(octets) <= 3 * len(packet)
    reply, whole = dns.message.from_wire(octets), dns.message.from_wire(all_of_it)
    assert (reply.rcode(), reply.question, reply.edns) == (
        whole.rcode(),
        whole.question,
        whole.edns,
    )
    if reply.flags & dns.flags.TC:
        assert reply.answer == reply.authority == reply.additional == []
    else:
        assert (reply.answer, reply.authority) == (whole.answer, whole.authority)


@pytest.mark.parametrize("size", [MAX_NSID, MAX_NSID + 1])
def test_the_longest_nsid_is_just_no_lever(suite: Compiled, size: int) -> None:
    """The worst case is a refusal of the shortest question; a longer NSID would gain more."""
    asked = dns.message.make_query(".", "A", use_edns=0, options=[OPTIONS[1]])
    packet = asked.to_wire()
    reply = respond(packet, PEER, edge(suite, nsid="n" * size), NOW, UDP4)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED
    assert (len(reply) <= 3 * len(packet)) is (size == MAX_NSID)


def test_who_shows_its_address_gets_all_that_it_has_room_for(suite: Compiled) -> None:
    """A valid cookie over UDP, or TCP; what is withheld from others is counted, and only that."""
    tables = edge(suite, nsid="")
    assert tables.instance.cookies is not None
    address = bytes(map(int, PEER[0].split(".")))
    cookie = tables.instance.cookies.check(CLIENT, address, NOW)[1]

    def ask(name: str, cookie: bytes, transport: int = UDP4) -> dns.message.Message:
        options = [dns.edns.GenericOption(10, cookie)]
        packet = dns.message.make_query(name, "TXT", use_edns=0, options=options).to_wire()
        return dns.message.from_wire(respond(packet, PEER, tables, NOW, transport) or b"")

    assert len(ask("big.example.test", cookie).answer[0]) == 3
    assert len(ask("big.example.test", CLIENT, TCP4).answer[0]) == 3
    assert ask("huge.example.test", cookie).flags & dns.flags.TC  # above 1,232 octets for anybody
    assert ask("huge.example.test", CLIENT).flags & dns.flags.TC
    assert tables.counters.total(WITHHELD) == 0
    for refused in (CLIENT, CLIENT + bytes(16)):
        answer = ask("big.example.test", refused)
        assert (answer.flags & dns.flags.TC, answer.answer) == (dns.flags.TC, [])
    assert tables.counters.total(WITHHELD) == 2


def test_what_is_withheld_is_no_answer_of_a_region(sample: Sample) -> None:
    """It is counted when it goes out, over TCP: else every such client would count twice."""
    tables = Tables(sample[0], Instance.of(DnsCounters(), {}), geo=sample[1])
    packet = dns.message.make_query("many.example.test", "AAAA").to_wire()
    for transport, answers in ((UDP4, 0), (TCP4, 1)):
        assert respond(packet, PEER, tables, NOW, transport) is not None
        assert tables.counters.total("firsthop_region_answers_total") == answers
    assert tables.counters.total(WITHHELD) == 1
