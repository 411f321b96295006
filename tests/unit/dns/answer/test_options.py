"""What an instance is told changes what it answers: cookies, limits, NSID, notices, readiness."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from firsthop_dns.answer.client_keys import TCP4, UDP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond, respond_strictly
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable

Sample = tuple[AnswerTable, GeoTable]
PEER = ("192.0.2.200", 5353)
SECRETS = ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"]


class AskedServer:
    """The sample with options, asked by a stranger from `PEER` at second `now`."""

    def __init__(self, sample: Sample, **options: Any) -> None:
        self.instance = Instance.of(DnsCounters(), {"cookie_secrets": SECRETS, **options})
        self.tables = Tables(sample[0], self.instance, geo=sample[1])
        self.now = 1_800_000_000.0
        self.lane = respond

    def ask(
        self,
        name: str = "geo.example.test",
        kind: str = "A",
        *options: dns.edns.Option,
        transport: int = UDP4,
        peer: tuple[str, int] = PEER,
    ) -> dns.message.Message | None:
        """The answer, or None if there is none."""
        reply = self.octets(name, kind, *options, transport=transport, peer=peer)
        return None if reply is None else dns.message.from_wire(reply)

    def octets(
        self,
        name: str,
        kind: str,
        *options: dns.edns.Option,
        transport: int = UDP4,
        peer: tuple[str, int] = PEER,
    ) -> bytes | None:
        """The answer as it comes."""
        asked = dns.message.make_query(name, kind, use_edns=0, options=list(options), id=7)
        return self.lane(asked.to_wire(), peer, self.tables, self.now, transport)

    def cookie(self, client: bytes = b"abcdefgh") -> dns.edns.Option:
        """A valid one for `PEER`."""
        assert self.instance.cookies is not None
        address = bytes(map(int, PEER[0].split(".")))
        return dns.edns.GenericOption(10, self.instance.cookies.check(client, address, self.now)[1])


def options(answer: dns.message.Message | None) -> dict[int, bytes]:
    """Options of an answer by code, in their order."""
    assert answer is not None
    return {int(each.otype): each.to_wire() or b"" for each in answer.options}


SUBNET = dns.edns.ECSOption("198.51.100.0", 24, 0)
ASK_COOKIE = dns.edns.GenericOption(10, b"abcdefgh")
NSID, KEEPALIVE = dns.edns.GenericOption(3, b""), dns.edns.GenericOption(11, b"")


def test_a_cookie_is_answered_with_one_that_is_valid(sample: Sample) -> None:
    """RFC 7873 §5.2.3; the same comes back while it is fresh, in every kind of reply."""
    edge = AskedServer(sample)
    given = options(edge.ask("www.example.test", "A", ASK_COOKIE))[10]
    assert (len(given), given[:8]) == (24, b"abcdefgh")
    for name in ("geo.example.test", "nope.example.test", "nope.invalid"):
        again = edge.ask(name, "A", dns.edns.GenericOption(10, given))
        assert options(again)[10] == given
    edge.now += 2000
    renewed = options(edge.ask("www.example.test", "A", dns.edns.GenericOption(10, given)))[10]
    assert renewed != given
    assert (
        AskedServer(sample, cookie_secrets=[]).ask("www.example.test", "A", ASK_COOKIE).options
        == ()
    )


def test_a_query_for_a_cookie_alone(sample: Sample) -> None:
    """RFC 7873 §5.4: QDCOUNT 0; without a cookie it is FORMERR."""
    edge = AskedServer(sample)
    head = b"\0\7\0\0\0\0\0\0\0\0\0\1"
    opt = bytes.fromhex("00 0029 04d0 00000000 000c 000a 0008") + b"abcdefgh"
    answer = dns.message.from_wire(respond(head + opt, PEER, edge.tables, 0.0, UDP4) or b"")
    assert (answer.rcode(), answer.question, len(options(answer)[10])) == (0, [], 24)
    forged = bytes.fromhex("00 0029 04d0 00000000 001c 000a 0018") + b"abcdefgh" + bytes(16)
    answer = dns.message.from_wire(respond(head + forged, PEER, edge.tables, 0.0, UDP4) or b"")
    assert (answer.rcode(), len(options(answer)[10])) == (dns.rcode.BADCOOKIE, 24)
    without = AskedServer(sample, cookie_secrets=[]).tables
    answer = dns.message.from_wire(respond(head + opt, PEER, without, 0.0, UDP4) or b"")
    assert (answer.rcode(), answer.options) == (dns.rcode.FORMERR, ())
    bare = bytes.fromhex("00 0029 04d0 00000000 0000")
    answer = dns.message.from_wire(respond(head + bare, PEER, edge.tables, 0.0, UDP4) or b"")
    assert answer.rcode() == dns.rcode.FORMERR


def test_beyond_the_limit_strangers_get_half_truncated_and_half_nothing(sample: Sample) -> None:
    """And those with a valid cookie, over TCP, of other networks or a second later everything."""
    edge = AskedServer(sample, rate_limit=200)
    replies = [edge.ask("www.example.test") for _ in range(60)]
    assert all(each is not None and each.answer for each in replies[:20])
    truncated = [each for each in replies[20:] if each is not None]
    assert len(truncated) == 20
    assert all(each.flags & dns.flags.TC and not each.answer for each in truncated)
    assert edge.ask("www.example.test", "A", edge.cookie()).answer
    assert edge.ask("www.example.test", transport=TCP4).answer
    assert edge.ask("www.example.test", peer=("192.0.3.200", 5353)).answer
    counters = edge.instance.counters
    assert counters.total("firsthop_dns_slipped_total") == 20
    assert counters.snapshot()["firsthop_dns_dropped_total"] == [({"reason": "rate_limit"}, 20)]
    came = counters.total("firsthop_dns_requests_total")
    assert came == counters.total("firsthop_dns_responses_total") + 20
    edge.now += 1
    assert edge.ask("www.example.test").answer


def test_beyond_the_limit_a_client_s_cookie_gets_badcookie(sample: Sample) -> None:
    """RFC 7873 §5.2.3: with one that is valid, so that it may come again at once."""
    edge = AskedServer(sample, rate_limit=1)
    for _ in range(2):
        answer = edge.ask("www.example.test", "A", ASK_COOKIE)
    assert (answer.rcode(), answer.answer) == (dns.rcode.BADCOOKIE, [])
    fresh = dns.edns.GenericOption(10, options(answer)[10])
    assert edge.ask("www.example.test", "A", fresh).answer


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("geo.example.test", 1),
        ("www.example.test", 10),
        ("plain.example.test", 10),
        ("nope.example.test", 10),
        ("nope.invalid", 20),
    ],
)
def test_classes_are_limited_apart(sample: Sample, name: str, part: int) -> None:
    """Answers for client subnets at the limit, answers that are everybody's and negative ones at
    a tenth of it, errors at a twentieth.
    """
    edge = AskedServer(sample, rate_limit=100)
    told = [edge.ask(name) for _ in range(100 // part + 2)]
    assert told.index(None) == 100 // part + 1


def test_errors_over_the_limit_go_out_whole_or_not_at_all(sample: Sample) -> None:
    """They are no longer than what they answer; malformed packets count as well."""
    edge = AskedServer(sample, rate_limit=20)
    bad = b"\0\1\0\0\0\2\0\0\0\0\0\0"
    replies = [respond(bad, PEER, edge.tables, edge.now, UDP4) for _ in range(9)]
    assert [each is not None for each in replies] == [True, True] + [False, True] * 3 + [False]


def test_no_limit_and_exempt_networks(sample: Sample) -> None:
    """0 limits nobody; an exempt network is never limited."""
    for options_ in ({"rate_limit": 0}, {"rate_limit": 1, "rate_limit_exempt": ["192.0.2.0/24"]}):
        edge = AskedServer(sample, **options_)
        assert all(edge.ask("www.example.test").answer for _ in range(50))


def test_nsid_and_keepalive_only_when_asked_for(sample: Sample) -> None:
    """RFC 5001 §2.1; RFC 7828 §3.2.1: over TCP alone, in units of 100 ms."""
    edge = AskedServer(sample, nsid="edge-1")
    assert options(edge.ask("www.example.test")) == {}
    assert options(edge.ask("www.example.test", "A", NSID, KEEPALIVE)) == {3: b"edge-1"}
    over_tcp = edge.ask("www.example.test", "A", NSID, KEEPALIVE, transport=TCP4)
    assert options(over_tcp) == {3: b"edge-1", 11: (100).to_bytes(2, "big")}
    assert options(AskedServer(sample).ask("www.example.test", "A", NSID)) == {}


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "code"),
    [
        ("nope.invalid", "A", "REFUSED", 20),
        ("www.example.test", "AXFR", "REFUSED", 18),
        ("www.example.test", "TYPE250", "REFUSED", 21),
        ("www.example.test", "TYPE128", "FORMERR", 30),
    ],
)
def test_extended_errors(sample: Sample, name: str, kind: str, rcode: str, code: int) -> None:
    """RFC 8914, for those who speak EDNS."""
    answer = AskedServer(sample).ask(name, kind)
    assert answer is not None
    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert options(answer) == {15: code.to_bytes(2, "big")}


def test_steered_answers_say_that_they_are_old(sample: Sample) -> None:
    """Extended error 22 while nobody tells the edge anything new; static ones say nothing."""
    edge = AskedServer(sample, stale=True)
    for edge.lane in (respond, respond_strictly):
        answer = edge.ask("geo.example.test", "A", SUBNET)
        assert list(options(answer)) == [15, 8]
        assert options(answer)[15] == b"\0\x16"
        assert options(edge.ask("www.example.test", "A", SUBNET)).keys() == {8}
    edge.instance.update({"stale": False})
    edge.tables = Tables(sample[0], edge.instance)
    assert options(edge.ask("geo.example.test", "A", SUBNET)).keys() == {8}


def test_before_the_first_table_it_says_so(sample: Sample) -> None:
    """SERVFAIL with extended error 14 rather than silence; what needs no table is answered."""
    edge = AskedServer(sample)
    edge.tables = Tables.unready(edge.instance)
    for name in ("geo.example.test", "nope.invalid"):
        answer = edge.ask(name, "A", SUBNET)
        assert (answer.rcode(), answer.flags & dns.flags.AA) == (dns.rcode.SERVFAIL, 0)
        assert options(answer)[15] == b"\0\x0e"
    assert edge.ask("www.example.test", "TYPE128").rcode() == dns.rcode.FORMERR


def test_subnets_count_from_those_resolvers_that_are_named(sample: Sample) -> None:
    """Others are answered by their own address; the subnet goes back with SCOPE 0."""
    edge = AskedServer(sample, ecs_from=["198.51.100.0/24", "2001:db8::/32"])
    trusted = edge.ask("geo.example.test", "A", SUBNET, peer=("198.51.100.200", 53))
    assert options(trusted)[8] == b"\0\1\x18\x19\xc6\x33\x64"
    assert trusted.answer[0][0].address == "192.0.2.21"
    other = edge.ask("geo.example.test", "A", SUBNET)
    assert options(other)[8] == b"\0\1\x18\0\xc6\x33\x64"
    assert {each.address for each in other.answer[0]} == {"192.0.2.11", "192.0.2.12"}


def test_a_private_subnet_is_answered_by_the_resolver_s_place(sample: Sample) -> None:
    """RFC 7871 §10: the scope is the private block, which holds for all of it."""
    edge = AskedServer(sample)
    for peer, address in (("198.51.100.1", "192.0.2.21"), ("198.51.100.200", "192.0.2.31")):
        private = dns.edns.ECSOption("10.1.2.0", 24, 0)
        answer = edge.ask("geo.example.test", "A", private, peer=(peer, 53))
        assert options(answer)[8] == b"\0\1\x18\x08\x0a\1\2"
        assert answer.answer[0][0].address == address


@pytest.mark.parametrize("rate_limit", [3, 50])
def test_lanes_agree_beyond_the_limit(sample: Sample, rate_limit: int) -> None:
    """Octets and counts, whoever is asked in whatever order."""
    found = []
    for lane in (respond, respond_strictly):
        edge = AskedServer(sample, rate_limit=rate_limit, stale=True)
        edge.lane = lane
        replies = [
            edge.octets(name, "A", *more)
            for _ in range(60)
            for name in ("geo.example.test", "www.example.test", "geo.example.test")
            for more in ((SUBNET,), (SUBNET, ASK_COOKIE))
        ]
        rows = edge.instance.counters.snapshot()
        found.append((replies, {key: sorted(map(str, each)) for key, each in rows.items()}))
    assert found[0] == found[1]
