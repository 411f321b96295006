"""RFC 2308, 8020, 6604, 8482, 3597: what is not there, aliases, ANY, unknown types."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

Target = Any  # conftest.Target


def negative_ttl(answer: dns.message.Message) -> int:
    """TTL of the SOA of a negative answer."""
    (rrset,) = answer.authority
    assert rrset.rdtype == dns.rdatatype.SOA
    assert answer.flags & dns.flags.AA
    return rrset.ttl


@pytest.mark.parametrize(
    ("name", "kind"),
    [("nosuch.example.test", "A"), ("x.deep.example.test", "A"), ("x.geo.example.test", "NS")],
)
def test_nxdomain(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§5: SOA with TTL min(300, 60)."""
    answer = target.ask(name, kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert negative_ttl(answer) == 60


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("www.example.test", "MX"),
        ("www.example.test", "TYPE65280"),
        ("deep.example.test", "A"),
        ("b.deep.example.test", "NS"),
        ("sub.example.test", "A"),
        ("geo.example.test", "SOA"),
        ("geo.example.test", "HTTPS"),
        ("apex.test", "TXT"),
    ],
)
def test_nodata(target: Target, tcp: bool, name: str, kind: str) -> None:
    """A name that exists, if only because of one below it (RFC 8020 §2)."""
    answer = target.ask(name, kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_chains(target: Target, tcp: bool) -> None:
    """RFC 1034 §4.3.2, and RFC 6604 §3 for the rcode of the last name."""
    names = [str(each.name) for each in target.ask("chain.example.test", tcp=tcp).answer]
    assert names == ["chain.example.test.", "link.example.test.", "www.example.test."]
    answer = target.ask("dangling.example.test", tcp=tcp)
    assert (answer.rcode(), len(answer.answer)) == (dns.rcode.NXDOMAIN, 1)
    assert negative_ttl(answer) == 60
    assert len(target.ask("chain.example.test", "CNAME", tcp=tcp).answer) == 1
    outside = target.ask("out.example.test", tcp=tcp)
    assert (outside.rcode(), len(outside.answer), outside.authority) == (0, 1, [])


def test_loops_end(target: Target, tcp: bool) -> None:
    """Each alias once."""
    assert len(target.ask("loop1.example.test", tcp=tcp).answer) == 2
    assert len(target.ask("self.example.test", tcp=tcp).answer) == 1


def test_any_is_minimal(target: Target, tcp: bool) -> None:
    """RFC 8482 §4.2."""
    for name in ("example.test", "www.example.test", "geo.example.test"):
        (rrset,) = target.ask(name, "ANY", tcp=tcp).answer
        assert rrset.rdtype == dns.rdatatype.HINFO
        assert rrset[0].cpu == b"RFC8482"


def test_nested_zone(target: Target, tcp: bool) -> None:
    """The most specific zone answers, with its own SOA."""
    answer = target.ask("nosuch.in.sub.example.test", tcp=tcp)
    assert str(answer.authority[0].name) == "in.sub.example.test."
    assert negative_ttl(answer) == 30
    assert target.ask("host.in.sub.example.test", tcp=tcp).answer
