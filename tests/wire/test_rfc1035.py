"""RFC 1035: headers, names, records and sizes, octet by octet."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from wire import sample
from wire.octets import walk
from wire.target import Target, data

HEADER_ONLY = bytes.fromhex("1234 0000 0000 0000 0000 0000")
NEEDS = {
    "CNAME": "loops",
    "DNAME": "DNAME",
    "PTR": "vast",
    "TXT": "star-inside",
    "TYPE65281": "empty-rdata",
}
"""Types with a record that not every server can load."""
TYPES = ["A", "AAAA", "NS", "SOA", "CNAME", "MX", "TXT", "CAA", "SRV", "NAPTR", "PTR", "SSHFP"]
TYPES += ["TLSA", "URI", "HTTPS", "SVCB", "TYPE65280", "TYPE65281", "TYPE65282"]


@pytest.mark.transports
@pytest.mark.parametrize("kind", ["SOA", "NS", "A", "MX", "CAA"])
def test_authoritative_data(target: Target, tcp: bool, kind: str) -> None:
    """§4.1.1 [1]: AA, and never RA."""
    answer = target.ask("example.test", kind, tcp=tcp)
    assert answer.answer
    assert answer.flags == dns.flags.QR | dns.flags.AA


@pytest.mark.transports
@pytest.mark.parametrize(
    "name", ["www.example.test", "nosuch.example.test", "x.sub.example.test", "nosuch.invalid"]
)
def test_recursion_is_never_available(target: Target, tcp: bool, name: str) -> None:
    """§4.1.1 [1, 2]: RD is copied, RA stays 0."""
    asked = dns.message.make_query(name, "A")
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert answer.flags & dns.flags.RD
    assert not answer.flags & dns.flags.RA


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.needs(NEEDS[kind]) if kind in NEEDS else ())
        for kind in [*TYPES, "DNAME"]
    ],
)
def test_every_rrset_of_the_zone_file(target: Target, kind: str) -> None:
    """§3, §5 [17, 55, 56, 62]: over TCP, all of it, with its TTL; nothing else in the answer."""
    wrong = []
    zone = sample.zone()
    cuts = [name for name, _ in zone.iterate_rdatasets("NS") if name != sample.APEX]
    for name, rdataset in zone.iterate_rdatasets(kind):
        if any(name.is_subdomain(cut) for cut in cuts):
            continue
        if name == sample.APEX and kind == "SOA":
            continue  # its serial may be the server's own
        got = target.ask(name, kind, tcp=True).answer
        if len(got) != 1 or got[0].to_rdataset() != rdataset or got[0].ttl != rdataset.ttl:
            wrong.append((str(name), [str(each) for each in got]))
    assert wrong == []


def test_the_soa_of_the_zone_file(target: Target, tcp: bool) -> None:
    """§3.3.13: all but the serial, which may be the server's own."""
    (rrset,) = target.ask("example.test", "SOA", tcp=tcp).answer
    (due,) = sample.zone().find_rdataset(sample.APEX, "SOA")
    assert rrset[0].replace(serial=due.serial) == due


def test_the_apex_of_the_zone_file(target: Target, tcp: bool) -> None:
    """§3.3.13: SOA TTL as written."""
    assert target.ask("example.test", "SOA", tcp=tcp).answer[0].ttl == 300


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("0001 0000 0000 0000 03 777777", id="cut in the name"),
        pytest.param("0001 0000 0000 0000 00 0001 00", id="cut in the class"),
        pytest.param("0001 0000 0000 0000 c00c 0001 0001", id="pointer loop"),
        pytest.param("0001 0000 0000 0000 c0ff 0001 0001", id="pointer forward"),
        pytest.param("0001 0000 0000 0000 40" + "61" * 64 + "00 0001 0001", id="label of 64"),
        pytest.param("0001 0000 0000 0000 bf" + "61" * 191 + "00 0001 0001", id="label of 191"),
        pytest.param("0001 0000 0000 0000" + "0161" * 128 + "00 0001 0001", id="long name"),
        pytest.param("0001 0001 0000 0000 00 0001 0001", id="an answer is missing"),
        pytest.param("0001 0000 0000 0001 00 0001 0001", id="a record is missing"),
        pytest.param("0001 0000 0000 0001 00 0001 0001 00 0001 0001 00000000 ffff", id="cut data"),
    ],
)
def test_malformed(target: Target, tcp: bool, body: str) -> None:
    """§2.3.4, §3.1, §4.1.4 [8]: FORMERR at once; AA and the rest clear [1]."""
    answer = target.octets(HEADER_ONLY[:4] + bytes.fromhex(body), tcp=tcp)
    assert answer[:2] == b"\x12\x34"
    assert answer[3] & 0xF == dns.rcode.FORMERR
    assert answer[2] & 0x84 == 0x80


@pytest.mark.decision("what nobody can mean is told so: FORMERR")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            "0001 0001 0000 0000 00 0001 0001" + "00 0001 0001 00000000 0000", id="answer"
        ),
        pytest.param("0001 0000 0001 0000 00 0001 0001" + "00 0001 0001 00000000 0000", id="auth"),
        pytest.param("0001 0000 0000 0000 00 0001 0001 ff", id="junk behind"),
    ],
)
def test_more_than_a_question(target: Target, tcp: bool, body: str) -> None:
    """§4.1 [7, 8]: a standard query has a question and no records of other sections."""
    answer = target.octets(HEADER_ONLY[:4] + bytes.fromhex(body), tcp=tcp)
    assert answer[3] & 0xF == dns.rcode.FORMERR


@pytest.mark.transports
def test_responses_and_fragments_are_never_answered(target: Target) -> None:
    """§4.1.1 [4]: else two servers answer each other for ever. A query sent last is answered."""
    with target.datagrams() as sock:
        response = bytearray(dns.message.make_query("www.example.test", "A").to_wire())
        response[2] |= 0x80
        sock.send(bytes(response))
        sock.send(HEADER_ONLY[:11])
        asked = dns.message.make_query("example.test", "SOA")
        sock.send(asked.to_wire())
        assert asked.is_response(dns.message.from_wire(sock.recv(4096)))


@pytest.mark.transports
def test_512_octets_without_edns(target: Target) -> None:
    """§4.2.1 [16]: TC, and the question kept."""
    octets = target.octets(dns.message.make_query("big.example.test", "TXT").to_wire())
    answer = dns.message.from_wire(octets)
    assert len(octets) <= 512
    assert answer.flags & dns.flags.TC
    assert len(answer.question) == 1


@pytest.mark.transports
def test_tcp_gives_it_whole(target: Target) -> None:
    """§4.2.2 [17]: no limit but 65,535."""
    for name, count in (("big", 3), ("huge", 7)):
        (rrset,) = target.ask(f"{name}.example.test", "TXT", tcp=True, edns=False).answer
        assert len(rrset) == count


@pytest.mark.needs("vast")
def test_pointers_reach_16383_octets(target: Target) -> None:
    """§4.1.4 [21]: beyond, names are whole or point at what lies before."""
    octets = target.octets(dns.message.make_query("vast.example.test", "PTR").to_wire(), tcp=True)
    message = walk(octets)
    assert len(octets) > 0x4000
    assert len({each.data for each in message.answer}) == len(message.answer) == 260
    assert len(data(dns.message.from_wire(octets), "PTR")) == 260


@pytest.mark.parametrize("kind", [*TYPES, "DNAME", "DS", "ANY", "TYPE4711"])
def test_octets_of_answers(target: Target, tcp: bool, kind: str) -> None:
    """§4.1.4, RFC 3597 §4 [21]: pointers go backwards, and never stand in data of newer types."""
    names = ["example.test", "www.example.test", "_dns.example.test", "x.dname.example.test"]
    names += ["_sip._udp.example.test", "naptr.example.test", "ns.sub.example.test"]
    names += ["chain.example.test", "dangling.example.test", "x.cwild.example.test"]
    for name in names:
        asked = dns.message.make_query(name, "A", use_edns=0).to_wire()
        at = 12 + len(dns.name.from_text(name).to_wire())
        number = int(dns.rdatatype.from_text(kind)).to_bytes(2, "big")
        octets = target.octets(asked[:at] + number + asked[at + 2 :], tcp=tcp)
        message = walk(octets)
        assert [each[0].pointers for each in message.questions] == [()]


def test_owners_point_at_the_question(target: Target) -> None:
    """§4.1.4 [20, 21]: the shortest form, and the asker's own case."""
    octets = target.octets(dns.message.make_query("www.example.test", "A").to_wire())
    assert [each.owner.pointers for each in walk(octets).answer] == [(12,), (12,)]


def test_txt_escapes(target: Target, tcp: bool) -> None:
    r"""§5.1 [56]: `\"`, `\DDD`, bare words, empty strings: octets, not text."""
    (rrset,) = target.resolve("www.example.test", "TXT", tcp=tcp).answer
    assert rrset[0].strings == (b'say "hi"', b"bare", b"\xff\x00x")
    (rrset,) = target.resolve("strings.example.test", "TXT", tcp=tcp).answer
    strings = (b"", b"semi;colon", b"back\\slash", b"tab\tbed", b"255 octets follow", b"z" * 255)
    assert rrset[0].strings == strings
