"""RFC 6891, 2181 §9, 9715: EDNS(0), sizes, truncation."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

Target = Any  # conftest.Target


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test", "nosuch.invalid"])
def test_opt_exactly_when_asked(target: Target, tcp: bool, name: str) -> None:
    """§6.1.1, §7: in errors too."""
    assert target.ask(name, edns=False, tcp=tcp).edns == -1
    answer = target.ask(name, tcp=tcp)
    assert (answer.edns, answer.ednsflags & 0xFFFF) == (0, 0)
    assert 512 <= answer.payload <= 1400


def test_later_versions(target: Target, tcp: bool) -> None:
    """§6.1.3: BADVERS, our version, no answer; options are not looked at."""
    junk = [dns.edns.GenericOption(8, b"junk")]
    asked = dns.message.make_query("example.test", "SOA", use_edns=1, options=junk)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.BADVERS, 0, [])
    assert not answer.flags & dns.flags.AA


def test_unknown_options_and_flags(target: Target, tcp: bool) -> None:
    """§6.1.2, §6.1.4: neither refused nor echoed; DO alone is copied (RFC 3225)."""
    unknown = [dns.edns.GenericOption(65001, b"abcd"), dns.edns.GenericOption(65002, b"")]
    asked = dns.message.make_query("example.test", "SOA", use_edns=0, options=unknown)
    asked.ednsflags = 0x80FF & ~0x4000
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.options) == (dns.rcode.NOERROR, ())
    assert answer.ednsflags & 0xFFFF == dns.flags.DO
    assert answer.answer


@pytest.mark.parametrize(
    "records",
    [
        pytest.param("0002 00 0029 04d0 00000000 0000" + "00 0029 04d0 00000000 0000", id="two"),
        pytest.param("0001 0161 00 0029 04d0 00000000 0000", id="owner"),
        pytest.param("0001 00 0029 04d0 00000000 0004 000a 0008", id="overrun"),
        pytest.param("0001 00 0029 04d0 00000000 0003 000a 00", id="half an option"),
        pytest.param("0001 00 0029 04d0 00000000 0000 ff", id="junk behind"),
    ],
)
def test_malformed_opt(target: Target, tcp: bool, records: str) -> None:
    """§6.1.1."""
    counts, rest = bytes.fromhex(records[:4]), bytes.fromhex(records[4:])
    question = b"\x07example\x04test\0\0\6\0\1"
    packet = b"\x12\x34\0\0\0\1\0\0\0\0" + counts + question + rest
    assert target.octets(packet, tcp=tcp)[3] & 0xF == dns.rcode.FORMERR


def test_truncation(target: Target) -> None:
    """RFC 1035 §4.2.1: 512 without EDNS; TC, the question, and no part of an RRset."""
    octets = target.octets(dns.message.make_query("big.example.test", "TXT").to_wire())
    answer = dns.message.from_wire(octets)
    assert len(octets) <= 512
    assert answer.flags & dns.flags.TC
    assert (len(answer.question), answer.answer) == (1, [])
    small = target.ask("big.example.test", "TXT", payload=512)
    assert small.flags & dns.flags.TC
    assert small.edns == 0
    assert not target.ask("big.example.test", "TXT", payload=4096).flags & dns.flags.TC
    # RFC 9715 §3.2: never what could be fragmented, however much is offered.
    assert target.ask("huge.example.test", "TXT", payload=4096).flags & dns.flags.TC


def test_tcp_gives_it_whole(target: Target) -> None:
    """RFC 7766 §5."""
    (rrset,) = target.ask("big.example.test", "TXT", tcp=True, edns=False).answer
    assert len(rrset) == 3
