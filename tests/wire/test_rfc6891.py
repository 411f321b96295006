"""RFC 6891: EDNS(0)."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from wire.octets import walk
from wire.target import Target

NAMES = ["www.example.test", "nosuch.example.test", "nosuch.invalid", "x.sub.example.test"]
OPT = 41


@pytest.mark.parametrize("name", NAMES)
def test_opt_exactly_when_asked(target: Target, tcp: bool, name: str) -> None:
    """§6.1.1, §7 [10]: in errors and referrals too; one, of the root, version 0."""
    assert target.ask(name, edns=False, tcp=tcp).edns == -1
    packet = dns.message.make_query(name, "A", use_edns=0).to_wire()
    message = walk(target.octets(packet, tcp=tcp))
    found = [each for each in message.records if each.kind == OPT]
    assert [each.owner.labels for each in found] == [()]
    assert found[0] in message.additional
    assert found[0].ttl == 0
    assert found[0].rdclass >= 512


def test_opt_when_the_opcode_is_unknown(target: Target, tcp: bool) -> None:
    """§7 [5, 10]: also with NOTIMP."""
    asked = dns.message.make_query("example.test", "SOA", use_edns=0)
    asked.set_opcode(15)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.edns) == (dns.rcode.NOTIMP, 0)


@pytest.mark.parametrize("version", [1, 2, 255])
def test_later_versions(target: Target, tcp: bool, version: int) -> None:
    """§6.1.3 [11]: BADVERS, our version, no answer."""
    asked = dns.message.make_query("example.test", "SOA", use_edns=version)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.BADVERS, 0, [])
    assert not answer.flags & dns.flags.AA


@pytest.mark.decision("the version comes before any look at the options")
def test_options_of_later_versions_are_not_read(target: Target, tcp: bool) -> None:
    """§6.1.3 [11]: they may mean something else."""
    junk = [dns.edns.GenericOption(8, b"junk")]
    asked = dns.message.make_query("example.test", "SOA", use_edns=1, options=junk)
    assert target.exchange(asked.to_wire(), tcp=tcp).rcode() == dns.rcode.BADVERS


def test_unknown_options(target: Target, tcp: bool) -> None:
    """§6.1.2 [12]: neither refused nor echoed; also of no length, also the last."""
    unknown = [dns.edns.GenericOption(65001, b"abcd"), dns.edns.GenericOption(65002, b"")]
    answer = target.ask("example.test", "SOA", tcp=tcp, options=unknown)
    assert answer.rcode() == dns.rcode.NOERROR
    assert {65001, 65002}.isdisjoint(each.otype for each in answer.options)
    assert answer.answer


@pytest.mark.decision("no option comes unasked, keepalive over TCP neither (RFC 7828 §3.3.2: MAY)")
def test_no_option_unasked(target: Target, tcp: bool) -> None:
    """§6.1.1 [12, 19]."""
    assert target.ask("example.test", "SOA", tcp=tcp).options == ()


@pytest.mark.parametrize("flag", [1 << bit for bit in range(14)])
def test_unknown_flags(target: Target, tcp: bool, flag: int) -> None:
    """§6.1.4 [13]: zero in the answer; DO alone is copied (RFC 3225 §3)."""
    asked = dns.message.make_query("example.test", "SOA", use_edns=0)
    asked.ednsflags = flag | dns.flags.DO
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.ednsflags & 0xFFFF) == (dns.rcode.NOERROR, dns.flags.DO)
    asked.ednsflags = flag
    assert target.exchange(asked.to_wire(), tcp=tcp).ednsflags & 0xFFFF == 0


@pytest.mark.parametrize(
    "records",
    [
        pytest.param("0002 00 0029 04d0 00000000 0000" + "00 0029 04d0 00000000 0000", id="two"),
        pytest.param("0001 00 0029 04d0 00000000 0004 000a 0008", id="overrun"),
        pytest.param("0001 00 0029 04d0 00000000 0003 000a 00", id="half an option"),
        pytest.param("0001 00 0029 04d0 00000000 0009 fde9 0002 abcd ffff 00", id="junk inside"),
    ],
)
def test_malformed_opt(target: Target, tcp: bool, records: str) -> None:
    """§6.1.1, §6.1.2 [14]: FORMERR."""
    counts, rest = bytes.fromhex(records[:4]), bytes.fromhex(records[4:])
    question = b"\x07example\x04test\0\0\6\0\1"
    packet = b"\x12\x34\0\0\0\1\0\0\0\0" + counts + question + rest
    assert target.octets(packet, tcp=tcp)[3] & 0xF == dns.rcode.FORMERR


@pytest.mark.decision("an OPT that is not one is told so: FORMERR")
@pytest.mark.parametrize(
    "records",
    [
        pytest.param("0001 0161 00 0029 04d0 00000000 0000", id="owner"),
        pytest.param("0001 00 0029 04d0 00000000 0000 ff", id="junk behind"),
    ],
)
def test_odd_opt(target: Target, tcp: bool, records: str) -> None:
    """§6.1.2 [14]: the owner MUST be the root; nothing stands behind the last record."""
    test_malformed_opt(target, tcp, records)


@pytest.mark.transports
@pytest.mark.parametrize("payload", [0, 1, 511, 512])
def test_less_than_512_octets_means_512(target: Target, payload: int) -> None:
    """§6.2.3 [15]."""
    answer = target.ask("www.example.test", payload=payload)
    assert not answer.flags & dns.flags.TC
    packet = dns.message.make_query("big.example.test", "TXT", use_edns=0, payload=payload)
    octets = target.octets(packet.to_wire())
    assert len(octets) <= 512
    assert dns.message.from_wire(octets).flags & dns.flags.TC


def test_a_truncated_answer_keeps_question_and_opt(target: Target) -> None:
    """§7 [10, 16]."""
    answer = target.ask("big.example.test", "TXT", payload=512)
    assert answer.flags & dns.flags.TC
    assert (len(answer.question), answer.edns) == (1, 0)


@pytest.mark.transports
def test_what_fits_is_sent(target: Target) -> None:
    """§6.2.3 [15]: 700 octets to a client that takes 1232 and is surely there."""
    answer = target.ask("big.example.test", "TXT", payload=1232, options=target.known())
    assert not answer.flags & dns.flags.TC
    assert len(answer.answer[0]) == 3
