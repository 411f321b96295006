"""RFC 2308: what is not there."""

from __future__ import annotations

import dns.rcode
import pytest

from wire.target import Target, negative_ttl, owners


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nosuch.example.test", "A"),
        ("a.b.c.nosuch.example.test", "TXT"),
        ("x.deep.example.test", "A"),
        ("x.www.example.test", "A"),
        ("nosuch.example.test", "TYPE65280"),
        pytest.param("x.geo.example.test", "NS", marks=pytest.mark.steered),
    ],
)
def test_nxdomain(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§2.1, §3 [22, 24]: AA, SOA of the zone with TTL min(300, 60)."""
    answer = target.ask(name, kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert negative_ttl(answer) == 60


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("www.example.test", "MX"),
        ("www.example.test", "TYPE65280"),
        ("www.example.test", "SOA"),
        ("www.example.test", "NS"),
        ("example.test", "TYPE65280"),
        ("example.test", "SRV"),
        ("deep.example.test", "A"),
        pytest.param("geo.example.test", "SOA", marks=pytest.mark.steered),
    ],
)
def test_nodata(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§2.2, §3 [22, 24]: NOERROR, AA, the same SOA."""
    answer = target.ask(name, kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_an_alias_to_nothing(target: Target, tcp: bool) -> None:
    """§2.1 [24, 26]: the alias, NXDOMAIN of its end, the SOA."""
    answer = target.ask("dangling.example.test", tcp=tcp)
    assert (answer.rcode(), owners(answer)) == (dns.rcode.NXDOMAIN, ["dangling CNAME"])
    assert negative_ttl(answer) == 60


def test_an_alias_to_a_name_without_the_type(target: Target, tcp: bool) -> None:
    """§2.2 [24, 26]: NODATA of its end."""
    for name, kind, links in (
        ("ent.example.test", "A", ["ent CNAME"]),
        ("chain.example.test", "MX", ["chain CNAME", "link CNAME"]),
    ):
        answer = target.ask(name, kind, tcp=tcp)
        assert (answer.rcode(), owners(answer)) == (dns.rcode.NOERROR, links)
        assert negative_ttl(answer) == 60


@pytest.mark.steered
def test_an_empty_pool_is_nodata_for_a_short_time(target: Target, tcp: bool) -> None:
    """§5 [63]: SOA no longer than the service's TTL; never SERVFAIL or NXDOMAIN."""
    answer = target.ask("closed.example.test", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 15
