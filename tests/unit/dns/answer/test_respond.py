"""The responder over the sample zone: steering, static data, negative answers, EDNS, counters."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.answer.client_keys import TCP4, UDP6, key_of_peer, key_of_subnet
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.respond import failure
from firsthop_dns.wire.edns import Subnet
from firsthop_geodata.prefixes import normalise

Answer = dns.message.Message
Ask = Any  # conftest.Asker: conftest is no module to import from


def texts(answer: Answer) -> list[str]:
    """The answer section, one `owner TTL IN type rdata` a record."""
    return [line for rrset in answer.answer for line in rrset.to_text().split("\n")]


def scope(answer: Answer) -> int | None:
    """SCOPE of the subnet option, if there is one."""
    found = [each for each in answer.options if isinstance(each, dns.edns.ECSOption)]
    assert len(found) <= 1
    return found[0].scopelen if found else None


def soa_ttl(answer: Answer) -> int:
    """TTL of the SOA that a negative answer must have, alone."""
    (rrset,) = answer.authority
    assert rrset.rdtype == dns.rdatatype.SOA
    return rrset.ttl


def test_the_subnet_decides_and_not_the_resolver(ask: Ask) -> None:
    """Each half of a /24 has another answer: SCOPE exceeds SOURCE (RFC 7871 §7.2.1)."""
    answer = ask("geo.example.test", subnet="198.51.100.0/24")
    assert texts(answer) == ["geo.example.test. 20 IN A 192.0.2.21"]
    assert scope(answer) == 25
    answer = ask("geo.example.test", subnet="198.51.100.128/25")
    assert texts(answer) == ["geo.example.test. 20 IN A 192.0.2.31"]
    assert answer.flags & dns.flags.AA


def test_without_a_subnet_the_resolver_decides_and_no_option_goes_back(ask: Ask) -> None:
    """RFC 7871 §7.2.2: never an option that was not asked for."""
    answer = ask("geo.example.test", edns=True)
    assert sorted(texts(answer)) == [
        "geo.example.test. 20 IN A 192.0.2.11",
        "geo.example.test. 20 IN A 192.0.2.12",
    ]
    assert scope(answer) is None
    ask.peer = ("198.51.100.200", 99)
    assert texts(ask("geo.example.test")) == ["geo.example.test. 20 IN A 192.0.2.31"]
    assert ask("geo.example.test").edns == -1
    ask.peer, ask.transport = ("2001:db8:1::5", 99, 0, 0), UDP6
    assert texts(ask("geo.example.test")) == ["geo.example.test. 20 IN A 192.0.2.21"]


def test_source_0_asks_not_to_be_told_apart(ask: Ask) -> None:
    """RFC 7871 §7.1.2: the resolver's own position, SCOPE 0."""
    ask.peer = ("203.0.113.9", 99)
    answer = ask("geo.example.test", subnet="0.0.0.0/0")
    assert texts(answer) == ["geo.example.test. 20 IN A 192.0.2.31"]
    assert scope(answer) == 0


def test_a_service_may_ignore_subnets(ask: Ask) -> None:
    """Echoed all the same, SCOPE 0."""
    answer = ask("plain.example.test", subnet="203.0.113.0/24")
    assert texts(answer)[0].endswith(("192.0.2.11", "192.0.2.12"))
    assert scope(answer) == 0


@pytest.mark.parametrize(
    ("subnet", "address", "scope_of_block"),
    [("2001:db8:1::/48", "192.0.2.21", 48), ("2001:db8:2:100::/56", "192.0.2.31", 47)],
)
def test_ipv6_subnets(ask: Ask, subnet: str, address: str, scope_of_block: int) -> None:
    """The subnet's family decides, whatever the query's transport and type are (row 44)."""
    answer = ask("geo.example.test", subnet=subnet)
    assert texts(answer) == [f"geo.example.test. 20 IN A {address}"]
    assert scope(answer) == scope_of_block


@pytest.mark.parametrize(
    ("subnet", "before", "ipv4"),
    [
        ("::ffff:203.0.113.0/120", 96, "203.0.113.0/24"),
        ("64:ff9b::198.51.100.0/121", 96, "198.51.100.0/25"),
        ("2002:c633:6480::/48", 16, "198.51.100.128/32"),
    ],
)
def test_ipv6_subnets_that_hold_ipv4(ask: Ask, subnet: str, before: int, ipv4: str) -> None:
    """Answered as the IPv4 address is; the scope counts the bits before it."""
    inner, outer = ask("geo.example.test", subnet=ipv4), ask("geo.example.test", subnet=subnet)
    assert texts(outer) == texts(inner)
    assert scope(outer) == before + (scope(inner) or 0)


def test_odd_bits_of_the_subnet_are_echoed(ask: Ask) -> None:
    """RFC 7871 §7.2.1: FAMILY, SOURCE and ADDRESS as they came, also where nothing is tailored."""
    answer = ask("www.example.test", subnet="198.51.100.192/27")
    (option,) = answer.options
    assert (option.address, option.srclen, option.scopelen) == ("198.51.100.192", 27, 0)


def test_a_region_without_ipv6_leaves_aaaa_to_the_next(ask: Ask) -> None:
    """Negative answers count for everybody (RFC 7871 §7.4), so near tyo it is not NODATA; the scope
    of each type is that of its own answers."""
    answer = ask("geo.example.test", "AAAA", subnet="198.51.100.0/25")
    assert texts(answer) == ["geo.example.test. 20 IN AAAA 2001:db8:b::21"]
    near_tyo = "203.0.113.0/24"
    assert texts(ask("geo.example.test", subnet=near_tyo)) == [
        "geo.example.test. 20 IN A 192.0.2.31"
    ]
    answer = ask("geo.example.test", "AAAA", subnet=near_tyo)
    assert answer.answer
    assert scope(answer) not in (None, 0)
    assert len(ask("geo.example.test", "HTTPS", subnet=near_tyo).answer) == 1


def test_families_together_are_both_of_the_nearest_region(ask: Ask) -> None:
    """NODATA for AAAA where it has none: not for long, and for everybody (§7.4)."""
    answer = ask("both.example.test", "AAAA", subnet="203.0.113.0/24")
    assert (answer.rcode(), answer.answer, soa_ttl(answer)) == (0, [], 20)
    assert scope(answer) == 0


def test_when_all_are_down(ask: Ask) -> None:
    """closed: NODATA with a short SOA; fallback: its addresses. Never SERVFAIL or NXDOMAIN."""
    answer = ask("closed.example.test")
    assert (answer.rcode(), answer.answer, soa_ttl(answer)) == (0, [], 15)
    assert texts(ask("spare.example.test")) == ["spare.example.test. 15 IN A 192.0.2.99"]


def test_a_service_at_the_apex(ask: Ask) -> None:
    """SOA and NS stand beside the steered addresses (dns-violations 2020-0002)."""
    ask.transport = TCP4
    assert len(texts(ask("apex.test"))) == 1
    assert texts(ask("apex.test", "NS")) == ["apex.test. 3600 IN NS ns1.example.test."]
    assert (
        " SOA ns1.example.test. hostmaster.example.test. 7 7200 "
        in texts(ask("apex.test", "SOA"))[0]
    )
    assert soa_ttl(ask("apex.test", "MX")) == 60


@pytest.mark.parametrize("kind", ["MX", "TXT", "NS", "SOA", "SRV", "DS", "TYPE65280"])
def test_other_types_at_a_steered_name(ask: Ask, kind: str) -> None:
    """NODATA with the zone's SOA."""
    answer = ask("geo.example.test", kind)
    assert (answer.rcode(), answer.answer, soa_ttl(answer)) == (0, [], 60)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("example.test", "A", ["example.test. 300 IN A 192.0.2.1"]),
        ("example.test", "MX", ["example.test. 300 IN MX 10 mail.example.test."]),
        ("example.test", "CAA", ['example.test. 300 IN CAA 0 issue "ca.example; account=1"']),
        (
            "example.test",
            "NS",
            [
                "example.test. 300 IN NS ns1.example.test.",
                "example.test. 300 IN NS ns2.example.test.",
            ],
        ),
        (
            "www.example.test",
            "A",  # one TTL for the set, the duplicate folded (RFC 2181 §5)
            ["www.example.test. 90 IN A 192.0.2.80", "www.example.test. 90 IN A 192.0.2.81"],
        ),
        (
            "www.example.test",
            "TXT",
            [r'www.example.test. 300 IN TXT "say \"hi\"" "bare" "\255\000x"'],
        ),
        ("ns2.example.test", "AAAA", ["ns2.example.test. 300 IN AAAA 2001:db8::53"]),
        ("mail.example.test", "MX", ["mail.example.test. 300 IN MX 20 mail.elsewhere.invalid."]),
        ("_odd._udp.example.test", "TXT", ['_odd._udp.example.test. 300 IN TXT "odd"']),
        ("host.in.sub.example.test", "A", ["host.in.sub.example.test. 300 IN A 192.0.2.60"]),
        ("www.example.test", "ANY", ['www.example.test. 3600 IN HINFO "RFC8482" ""']),
        ("geo.example.test", "ANY", ['geo.example.test. 3600 IN HINFO "RFC8482" ""']),
        ("out.example.test", "ANY", ["out.example.test. 300 IN CNAME www.elsewhere.invalid."]),
        ("chain.example.test", "CNAME", ["chain.example.test. 300 IN CNAME link.example.test."]),
        (
            "chain.example.test",
            "A",
            [
                "chain.example.test. 300 IN CNAME link.example.test.",
                "link.example.test. 30 IN CNAME www.example.test.",
                "www.example.test. 90 IN A 192.0.2.80",
                "www.example.test. 90 IN A 192.0.2.81",
            ],
        ),
        (
            "loop1.example.test",
            "A",
            [
                "loop1.example.test. 300 IN CNAME loop2.example.test.",
                "loop2.example.test. 300 IN CNAME loop1.example.test.",
            ],
        ),
        ("self.example.test", "AAAA", ["self.example.test. 300 IN CNAME self.example.test."]),
        ("out.example.test", "A", ["out.example.test. 300 IN CNAME www.elsewhere.invalid."]),
        # A steered or another zone's name is asked for by itself (RFC 7871 §7.2.1).
        ("steered.example.test", "A", ["steered.example.test. 300 IN CNAME geo.example.test."]),
        (
            "nested.example.test",
            "A",
            ["nested.example.test. 300 IN CNAME host.in.sub.example.test."],
        ),
    ],
)
def test_static_answers(ask: Ask, name: str, kind: str, expected: list[str]) -> None:
    """Read back by dnspython, over TCP where nothing is cut."""
    ask.transport = TCP4
    answer = ask(name, kind)
    assert texts(answer) == expected
    assert answer.authority == []
    assert answer.flags & dns.flags.AA
    assert answer.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "ttl"),
    [
        ("nope.example.test", "A", dns.rcode.NXDOMAIN, 60),
        ("x.www.example.test", "NS", dns.rcode.NXDOMAIN, 60),
        ("a.geo.example.test", "A", dns.rcode.NXDOMAIN, 60),
        ("x.whoami.example.test", "TXT", dns.rcode.NXDOMAIN, 60),
        ("x.deep.example.test", "A", dns.rcode.NXDOMAIN, 60),
        ("deep.example.test", "A", dns.rcode.NOERROR, 60),
        ("b.deep.example.test", "ANY", dns.rcode.NOERROR, 60),
        ("_udp.example.test", "NS", dns.rcode.NOERROR, 60),
        ("www.example.test", "MX", dns.rcode.NOERROR, 60),
        ("www.example.test", "TYPE65280", dns.rcode.NOERROR, 60),
        ("whoami.example.test", "A", dns.rcode.NOERROR, 60),
        ("sub.example.test", "A", dns.rcode.NOERROR, 60),
        ("nope.in.sub.example.test", "A", dns.rcode.NXDOMAIN, 30),
        ("\\255\\000.example.test", "A", dns.rcode.NXDOMAIN, 60),
    ],
)
def test_negative_answers(ask: Ask, name: str, kind: str, rcode: int, ttl: int) -> None:
    """NXDOMAIN only where nothing is at or below (RFC 8020); SOA TTL by RFC 2308; SCOPE 0."""
    answer = ask(name, kind, subnet="198.51.100.0/24")
    assert (answer.rcode(), answer.answer, soa_ttl(answer)) == (rcode, [], ttl)
    assert answer.flags & dns.flags.AA
    assert scope(answer) == 0


def test_the_end_of_a_chain_gives_rcode_and_soa(ask: Ask) -> None:
    """RFC 6604 §3, RFC 2308 §2.1."""
    ask.transport = TCP4
    answer = ask("dangling.example.test")
    assert texts(answer) == ["dangling.example.test. 300 IN CNAME nowhere.example.test."]
    assert (answer.rcode(), soa_ttl(answer)) == (dns.rcode.NXDOMAIN, 60)
    answer = ask("chain.example.test", "MX")
    assert len(answer.answer) == 2
    assert (answer.rcode(), soa_ttl(answer)) == (dns.rcode.NOERROR, 60)
    answer = ask("ent.example.test", "A")
    assert (answer.rcode(), soa_ttl(answer)) == (dns.rcode.NOERROR, 60)


@pytest.mark.parametrize(
    "name",
    ["nosuch.invalid", "test", ".", "xexample.test", "wwwexample.test", "www\\.example.test"],
)
def test_names_of_other_zones_are_refused(ask: Ask, name: str) -> None:
    """No authority, no referral upwards; a dot inside a label separates nothing."""
    answer = ask(name, subnet="198.51.100.0/24")
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA
    assert answer.answer == answer.authority == []
    assert scope(answer) == 0


@pytest.mark.parametrize(
    ("kind", "rcode"),
    [
        ("AXFR", dns.rcode.REFUSED),
        ("TYPE0", dns.rcode.REFUSED),
        ("OPT", dns.rcode.REFUSED),
        ("TSIG", dns.rcode.REFUSED),
        ("MAILA", dns.rcode.REFUSED),
        ("TYPE200", dns.rcode.REFUSED),
        ("TYPE128", dns.rcode.FORMERR),
    ],
)
def test_types_that_are_no_data(ask: Ask, kind: str, rcode: int) -> None:
    """Transfers and meta-types; NXNAME is never asked for (RFC 9824 §3.5)."""
    answer = ask("geo.example.test", kind, subnet="198.51.100.0/24")
    assert answer.rcode() == rcode
    assert scope(answer) == (None if rcode == dns.rcode.FORMERR else 0)


@pytest.mark.parametrize("rdclass", ["CH", "ANY", "NONE", "CLASS0", "HS"])
def test_other_classes_are_refused(ask: Ask, rdclass: str) -> None:
    """The look-up never sees them."""
    asked = dns.message.make_query("geo.example.test", "A", rdclass=rdclass)
    answer = dns.message.from_wire(ask.packet(asked.to_wire()))
    assert answer.rcode() == dns.rcode.REFUSED


def test_the_question_goes_back_as_it_came(ask: Ask) -> None:
    """0x20: case kept, look-up without it; owners point at the question."""
    asked = dns.message.make_query("gEo.ExAmPlE.tEsT", "A", use_edns=0).to_wire()
    reply = ask.packet(asked)
    assert reply[12 : 12 + 22] == asked[12 : 12 + 22]
    assert reply[34:36] == b"\xc0\x0c"


@pytest.mark.parametrize("bits", [0x0000, 0x0100, 0x0670, 0x077F])
def test_flags_of_the_query_are_not_copied(ask: Ask, bits: int) -> None:
    """But for RD. Z, TC, AA, RA, AD, CD and rcode mean nothing in a query."""
    packet = bytearray(dns.message.make_query("www.example.test", "A").to_wire())
    packet[2:4] = bits.to_bytes(2, "big")
    reply = ask.packet(bytes(packet))
    assert int.from_bytes(reply[2:4], "big") == 0x8400 | bits & 0x0100


def test_truncation(ask: Ask) -> None:
    """Beyond what the client takes over UDP: TC, question and OPT kept, no part of an RRset."""
    plain = ask("big.example.test", "TXT")
    assert plain.flags & dns.flags.TC
    assert (plain.answer, plain.edns) == ([], -1)
    small = ask("big.example.test", "TXT", edns=True, payload=600)
    assert small.flags & dns.flags.TC
    assert small.edns == 0
    # However much the client offers, we send no more than what is never fragmented.
    assert ask("huge.example.test", "TXT", edns=True, payload=4096).flags & dns.flags.TC
    # A payload below 512 means 512.
    assert not ask("www.example.test", edns=True, payload=0).flags & dns.flags.TC
    ask.transport = TCP4
    assert len(texts(ask("big.example.test", "TXT"))) == 3


def test_opt_goes_back_exactly_when_it_came(ask: Ask) -> None:
    """Row 10 to 13: ours, version 0, DO copied, nothing else."""
    assert ask("nope.invalid").edns == -1
    answer = ask("nope.invalid", dnssec_ok=True)
    assert (answer.edns, answer.payload, answer.ednsflags) == (0, 1232, dns.flags.DO)
    asked = dns.message.make_query("www.example.test", "A", use_edns=1).to_wire()
    later = dns.message.from_wire(ask.packet(asked))
    assert (later.rcode(), later.edns, later.answer) == (dns.rcode.BADVERS, 0, [])
    unknown = [dns.edns.GenericOption(65001, b"abcd")]
    asked = dns.message.make_query("www.example.test", "A", use_edns=0, options=unknown)
    asked.ednsflags = 0x4080
    answer = dns.message.from_wire(ask.packet(asked.to_wire()))
    assert (answer.options, answer.ednsflags, len(answer.answer)) == ((), 0, 1)


def test_a_malformed_subnet_gets_formerr_with_opt_and_no_subnet(ask: Ask) -> None:
    """RFC 7871 §7.2.1."""
    bad = [dns.edns.GenericOption(8, bytes.fromhex("00011400c0001f"))]
    asked = dns.message.make_query("geo.example.test", "A", use_edns=0, options=bad)
    answer = dns.message.from_wire(ask.packet(asked.to_wire()))
    assert (answer.rcode(), answer.edns, answer.options) == (dns.rcode.FORMERR, 0, ())


def test_whoami_tells_how_the_asker_was_seen(ask: Ask) -> None:
    """Not for any cache: TTL 0, as narrow as the asker's own prefix."""
    assert ask("whoami.example.test", "TXT").flags & dns.flags.TC  # worth forging, else
    ask.transport = TCP4
    answer = ask("whoami.example.test", "TXT", subnet="203.0.113.0/24")
    (rrset,) = answer.answer
    assert (rrset.ttl, scope(answer)) == (0, 24)
    strings = [each.decode() for each in rrset[0].strings]
    assert "resolver=127.0.0.1 transport=tcp" in strings
    assert "ecs=203.0.113.0/24" in strings
    assert any("coordinates=35.70,139.70" in each for each in strings)
    assert any(each.startswith("service=geo region=tyo outcome=steered") for each in strings)
    assert any(each.startswith("service=plain region=fra") for each in strings)
    assert any(each.startswith("plan=7 status=3 table=") for each in strings)
    assert "time=1970-01-01T00:00:00Z" in strings
    assert "apex" not in " ".join(strings)
    nowhere = ask("whoami.apex.test", "TXT", subnet="10.0.0.0/8")
    assert b"place=unknown" in nowhere.answer[0][0].strings
    own = ask("whoami.in.sub.example.test", "TXT")
    assert texts(own) == ['whoami.in.sub.example.test. 300 IN TXT "mine"']


def test_port_zero_and_non_queries_are_dropped_and_counted(ask: Ask) -> None:
    """Silence only where an answer could do harm."""
    good = dns.message.make_query("www.example.test", "A").to_wire()
    assert ask.packet(good[:5]) is None
    assert ask.packet(good[:2] + b"\x81\x80" + good[4:]) is None
    ask.peer = ("127.0.0.1", 0)
    assert ask.packet(good) is None
    tailored = [dns.edns.ECSOption("198.51.100.0", 24, 0)]
    assert (
        ask.packet(dns.message.make_query("geo.example.test", "A", options=tailored).to_wire())
        is None
    )
    dropped = ask.tables.counters.snapshot()["firsthop_dns_dropped_total"]
    assert {labels["reason"]: count for labels, count in dropped} == {
        "short": 1,
        "response": 1,
        "port_zero": 2,
    }


def test_counters_name_zone_type_family_and_region(ask: Ask) -> None:
    """No client and no query name in any label."""
    ask("geo.example.test", subnet="203.0.113.0/24")
    ask("geo.example.test", "AAAA", subnet="203.0.113.0/24")
    ask("nope.example.test", "TYPE999")
    ask("nope.invalid")
    ask.peer, ask.transport = ("::1", 9, 0, 0), UDP6
    ask("geo.example.test")
    found = ask.tables.counters.snapshot()
    zone = {"zone": "example.test."}
    v4 = {"proto": "udp", "family": "4"}
    assert ({**zone, **v4, "type": "A"}, 1) in found["firsthop_dns_requests_total"]
    assert ({**zone, **v4, "type": "AAAA"}, 1) in found["firsthop_dns_requests_total"]
    assert ({**zone, **v4, "type": "other"}, 1) in found["firsthop_dns_requests_total"]
    assert ({**zone, "proto": "udp", "family": "6", "type": "A"}, 1) in found[
        "firsthop_dns_requests_total"
    ]
    assert ({**zone, "rcode": "NOERROR"}, 3) in found["firsthop_dns_responses_total"]
    assert ({**zone, "rcode": "NXDOMAIN"}, 1) in found["firsthop_dns_responses_total"]
    assert ({"zone": "", "rcode": "REFUSED"}, 1) in found["firsthop_dns_responses_total"]
    regions = {each["region"]: n for each, n in found["firsthop_region_answers_total"]}
    assert regions == {"tyo": 1, "fra": 1}


def test_a_fault_of_ours_is_servfail(tables: Tables) -> None:
    """What the shells send when `respond` raises; counted like any other response."""
    reply = failure(dns.message.make_query("www.example.test", "A").to_wire(), tables, TCP4)
    assert dns.message.from_wire(reply).rcode() == dns.rcode.SERVFAIL


@given(st.ip_addresses())
def test_addresses_become_the_keys_of_the_table(address: Any) -> None:
    """On octets as on address objects (`normalise`)."""
    family = 1 if address.version == 4 else 2
    expected = normalise(address)
    assert key_of_subnet(Subnet(family, address.max_prefixlen, address.packed)) == expected
    assert key_of_peer((str(address), 1), 0 if address.version == 4 else UDP6) == expected
