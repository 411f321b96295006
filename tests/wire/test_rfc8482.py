"""RFC 8482: ANY is told little."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target, is_referral, negative_ttl, owners


@pytest.mark.transports
@pytest.mark.parametrize("name", ["example.test", "www.example.test", "x.wild.example.test"])
def test_any_over_udp_is_one_rrset(target: Target, name: str) -> None:
    """§4.1, §4.2 [31]: a subset of what is there, or a HINFO."""
    answer = target.ask(name, "ANY")
    assert answer.rcode() == dns.rcode.NOERROR
    assert len(answer.answer) == 1


@pytest.mark.transports
@pytest.mark.decision('HINFO "RFC8482" over both transports; TCP may give all (§4.4)')
@pytest.mark.parametrize(
    "name",
    [
        "example.test",
        "www.example.test",
        "x.wild.example.test",
        pytest.param("geo.example.test", marks=pytest.mark.steered),
    ],
)
def test_any_is_a_hinfo(target: Target, tcp: bool, name: str) -> None:
    """§4.2 [31]: which no resolver mistakes for all there is."""
    (rrset,) = target.ask(name, "ANY", tcp=tcp).answer
    assert rrset.rdtype == dns.rdatatype.HINFO
    assert (rrset[0].cpu, rrset[0].os) == (b"RFC8482", b"")


def test_any_of_an_alias_is_the_alias(target: Target, tcp: bool) -> None:
    """§4.2, §4.3 [26, 31]: a CNAME matches ANY, and is not followed."""
    answer = target.ask("chain.example.test", "ANY", tcp=tcp)
    assert owners(answer) in (["chain CNAME"], ["chain HINFO"])


@pytest.mark.parametrize("kind", ["ANY"])
def test_any_where_nothing_is(target: Target, tcp: bool, kind: str) -> None:
    """§4 [22, 23, 31]: NXDOMAIN and NODATA as for every type."""
    answer = target.ask("nosuch.example.test", kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert negative_ttl(answer) == 60
    answer = target.ask("deep.example.test", kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_any_at_a_cut_is_a_referral(target: Target, tcp: bool) -> None:
    """RFC 1034 §4.3.2 [28, 31]."""
    for name in ("sub.example.test", "x.sub.example.test"):
        assert is_referral(target.resolve(name, "ANY", tcp=tcp), "sub.example.test.")


@pytest.mark.parametrize("name", ["example.test", "www.example.test", "huge.example.test"])
def test_any_is_small(target: Target, name: str) -> None:
    """§1, §4 [31, 65]: at most 300 octets over UDP."""
    packet = dns.message.make_query(name, "ANY", use_edns=0, payload=4096).to_wire()
    assert len(target.octets(packet)) <= 300
