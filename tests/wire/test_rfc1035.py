"""RFC 1034, 1035, 2181, 8906, 9619: messages, flags, names, classes, opcodes."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

Target = Any  # conftest.Target

HEADER_ONLY = bytes.fromhex("1234 0000 0000 0000 0000 0000")


@pytest.mark.parametrize("kind", ["SOA", "NS", "A", "MX", "CAA"])
def test_authoritative_data(target: Target, tcp: bool, kind: str) -> None:
    """§4.1.1: AA, and never RA."""
    answer = target.ask("example.test", kind, tcp=tcp)
    assert answer.answer
    assert answer.flags == dns.flags.QR | dns.flags.AA


def test_only_rd_is_copied(target: Target, tcp: bool) -> None:
    """RFC 8906 §3.1.3: Z, TC, AA, RA, AD, CD and rcode of a query are ignored."""
    packet = bytearray(dns.message.make_query("www.example.test", "A").to_wire())
    packet[2:4] = b"\x07\xff"
    answer = target.exchange(bytes(packet), tcp=tcp)
    assert answer.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD
    assert answer.rcode() == dns.rcode.NOERROR


def test_the_question_comes_back_octet_for_octet(target: Target, tcp: bool) -> None:
    """RFC 4343: looked up without case."""
    packet = dns.message.make_query("wWw.eXaMpLe.TeSt", "A").to_wire()
    answer = target.octets(packet, tcp=tcp)
    assert answer[12 : len(packet)] == packet[12:]
    assert dns.message.from_wire(answer).answer


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_opcodes_not_implemented(target: Target, tcp: bool, opcode: int) -> None:
    """RFC 8906 §3.1.4: the opcode goes back, all flags 0."""
    packet = HEADER_ONLY[:2] + bytes([opcode << 3 | 1, 0]) + HEADER_ONLY[4:]
    answer = target.octets(packet, tcp=tcp)
    assert answer == b"\x12\x34" + bytes([0x80 | opcode << 3, 4]) + bytes(8)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("0000 0000 0000 0000", id="no question"),
        pytest.param("0002 0000 0000 0000 00 0001 0001 00 0001 0001", id="two questions"),
        pytest.param("0001 0001 0000 0000 00 0001 0001", id="an answer"),
        pytest.param("0001 0000 0000 0000 03 777777", id="cut"),
        pytest.param("0001 0000 0000 0000 c00c 0001 0001", id="pointer loop"),
        pytest.param("0001 0000 0000 0000 40" + "61" * 64 + "00 0001 0001", id="label of 64"),
        pytest.param("0001 0000 0000 0000" + "0161" * 128 + "00 0001 0001", id="long name"),
        pytest.param("0001 0000 0000 0000 00 0001 0001 ff", id="junk behind"),
    ],
)
def test_malformed(target: Target, tcp: bool, body: str) -> None:
    """FORMERR at once, never silence; RFC 9619 §4 for the number of questions."""
    answer = target.octets(HEADER_ONLY[:4] + bytes.fromhex(body), tcp=tcp)
    assert answer[:2] == b"\x12\x34"
    assert answer[3] & 0xF == dns.rcode.FORMERR
    assert answer[2] & 0x84 == 0x80


def test_responses_and_fragments_are_never_answered(target: Target) -> None:
    """Else two servers could answer each other for ever. A query sent last is answered first."""
    with target.datagrams() as sock:
        response = bytearray(dns.message.make_query("www.example.test", "A").to_wire())
        response[2] |= 0x80
        sock.send(bytes(response))
        sock.send(HEADER_ONLY[:11])
        asked = dns.message.make_query("example.test", "SOA")
        sock.send(asked.to_wire())
        assert asked.is_response(dns.message.from_wire(sock.recv(4096)))


def test_labels_hold_any_octets(target: Target, tcp: bool) -> None:
    """RFC 2181 §11; a dot inside a label separates nothing."""
    assert target.ask("\\255\\000.example.test", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert target.ask("www\\.example.test", tcp=tcp).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("name", ["nosuch.invalid", ".", "test", "notexample.test"])
def test_other_zones_are_refused(target: Target, tcp: bool, name: str) -> None:
    """No authority and no referral upwards (RFC 5358)."""
    answer = target.ask(name, "SOA", tcp=tcp)
    assert answer.flags == 0x8000 | dns.rcode.REFUSED
    assert answer.answer == answer.authority == answer.additional == []


@pytest.mark.parametrize("rdclass", ["CH", "ANY", "NONE", "HS"])
def test_other_classes_are_refused(target: Target, tcp: bool, rdclass: str) -> None:
    """version.bind tells nothing (RFC 4892)."""
    asked = dns.message.make_query("version.bind", "TXT", rdclass=rdclass)
    assert target.exchange(asked.to_wire(), tcp=tcp).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("kind", ["AXFR", "IXFR", "MAILA", "MAILB", "TSIG", "TYPE0"])
def test_meta_types_are_refused(target: Target, tcp: bool, kind: str) -> None:
    """No transfer; RFC 6895 §3.1 for the others."""
    asked = dns.message.make_query("example.test", "SOA")
    asked.question[0].rdtype = dns.rdatatype.from_text(kind)
    assert target.exchange(asked.to_wire(), tcp=tcp).rcode() == dns.rcode.REFUSED


def test_txt_escapes(target: Target, tcp: bool) -> None:
    """§5.1: octets, not text."""
    (rrset,) = target.ask("www.example.test", "TXT", tcp=tcp).answer
    assert rrset[0].strings == (b'say "hi"', b"bare", b"\xff\x00x")


def test_one_ttl_and_no_duplicates(target: Target, tcp: bool) -> None:
    """RFC 2181 §5."""
    (rrset,) = target.ask("www.example.test", "A", tcp=tcp).answer
    assert rrset.ttl == 90
    assert sorted(each.address for each in rrset) == ["192.0.2.80", "192.0.2.81"]
