"""RFC 5358: what is not ours is refused, in few octets; nothing helps to flood a third."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import pytest

from wire.target import Target


@pytest.mark.parametrize(
    "name", ["nosuch.invalid", ".", "test", "notexample.test", "xexample.test"]
)
@pytest.mark.parametrize("kind", ["SOA", "NS", "A", "ANY", "TYPE65280"])
def test_other_zones_are_refused(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§4, RFC 8906 §3 [1, 30]: no authority, no data, no referral upwards."""
    answer = target.ask(name, kind, tcp=tcp)
    assert answer.flags == 0x8000 | dns.rcode.REFUSED
    assert answer.answer == answer.authority == answer.additional == []


@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize(
    "name", ["nosuch.invalid", "a.b.c.d.e.f.nosuch.invalid", "x" * 63 + ".invalid", "."]
)
def test_a_refusal_is_hardly_longer_than_the_question(
    target: Target, name: str, edns: bool
) -> None:
    """[65]: the question and an OPT with a short extended error."""
    asked = dns.message.make_query(name, "ANY", use_edns=0 if edns else False).to_wire()
    assert len(target.octets(asked)) <= len(asked) + (6 + 32 if edns else 0)


@pytest.mark.parametrize("edns", [False, True])
def test_errors_are_no_longer_than_the_question(target: Target, edns: bool) -> None:
    """[65]: NOTIMP and BADVERS bring no data."""
    query = dns.message.make_query("www.example.test", "A", use_edns=0 if edns else False)
    query.set_opcode(dns.opcode.STATUS)
    later = dns.message.make_query("www.example.test", "A", use_edns=1)
    for packet in (query.to_wire(), later.to_wire()):
        assert len(target.octets(packet)) <= len(packet) + 32 * edns


LONG = [
    ("big.example.test", "TXT"),
    ("strings.example.test", "TXT"),
    ("sub.example.test", "A"),
    ("www.manyns.example.test", "A"),
    ("eight.example.test", "A"),
    pytest.param("x.dsub.example.test", "A", marks=pytest.mark.needs("DNAME")),
    ("_dns.example.test", "SVCB"),
]


@pytest.mark.transports
@pytest.mark.parametrize(("name", "kind"), LONG)
def test_what_is_truncated_comes_over_tcp(target: Target, name: str, kind: str) -> None:
    """RFC 7766 §5 [16, 17]: TC is an invitation, and TCP keeps it."""
    told = target.resolve(name, kind)
    assert told.rcode() == dns.rcode.NOERROR
    assert not told.flags & dns.flags.TC
    assert told.answer or told.authority


@pytest.mark.decision("ANY is never worth more than four times the question")
@pytest.mark.parametrize("name", ["example.test", "www.example.test", "big.example.test"])
def test_any_is_no_lever(target: Target, name: str) -> None:
    """RFC 8482 §1 [31, 65]: at most four times the question."""
    asked = dns.message.make_query(name, "ANY", use_edns=0, payload=4096).to_wire()
    assert len(target.octets(asked)) <= 4 * len(asked)
