"""RFC 8659: CAA, which a certification authority asks for at every name and each above it."""

from __future__ import annotations

import dns.rcode
import pytest

from wire.target import Target, data, negative_ttl, owners


def test_values_are_octets(target: Target, tcp: bool) -> None:
    """§4.1 [56]: flags, tag, value."""
    answer = target.ask("example.test", "CAA", tcp=tcp)
    assert data(answer, "CAA") == ['0 issue "ca.example; account=1"']


def test_flags_and_tags(target: Target, tcp: bool) -> None:
    """§4.1, §4.5 [56]: critical, and a tag that is not issue."""
    answer = target.ask("caa.example.test", "CAA", tcp=tcp)
    assert data(answer, "CAA") == ['0 iodef "mailto:security@example.test"', '128 issue ";"']


@pytest.mark.parametrize(
    "name",
    [
        "www.example.test",
        "deep.example.test",
        "_udp.example.test",
        "x.wild.example.test",
        pytest.param("geo.example.test", marks=pytest.mark.steered),
    ],
)
def test_none_is_nodata(target: Target, tcp: bool, name: str) -> None:
    """§3, RFC 2308 §2.2 [22, 61]: an error here stops a certificate."""
    answer = target.ask(name, "CAA", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_aliases_are_followed(target: Target, tcp: bool) -> None:
    """§3 [26]: the alias and NODATA of its end."""
    answer = target.ask("chain.example.test", "CAA", tcp=tcp)
    assert owners(answer) == ["chain CNAME", "link CNAME"]
    assert answer.rcode() == dns.rcode.NOERROR
