"""RFC 8020: NXDOMAIN means nothing at the name, and nothing below it."""

from __future__ import annotations

import dns.name
import dns.rcode
import pytest

from wire import sample
from wire.target import Target, is_referral, negative_ttl


@pytest.mark.parametrize(
    "name", ["deep", "b.deep", "_udp", "_tcp", "_tcp.www", "wild", "odd", "host2.rfc4592", "tree"]
)
@pytest.mark.parametrize("kind", ["A", "NS", "MX", "TYPE65280"])
def test_names_above_others_exist(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§2 [23, 60]: NODATA where only names below have records."""
    answer = target.ask(f"{name}.example.test", kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


@pytest.mark.needs("loops")
def test_no_ancestor_of_a_name_is_denied(target: Target) -> None:
    """§2 [23]: for every owner of the zone file, every name between it and the apex."""
    ancestors = set()
    for name, _ in sample.zone().iterate_rdatasets():
        while name != sample.APEX:
            name = name.parent()
            ancestors.add(name)
    for name in sorted(ancestors - {sample.APEX}):
        answer = target.ask(name, "TYPE4711", tcp=True)
        assert answer.rcode() == dns.rcode.NOERROR, name


def test_below_nothing_is_nothing(target: Target, tcp: bool) -> None:
    """§2, §3 [23]."""
    for name in ("nosuch", "a.nosuch", "b.a.nosuch", "x.a.b.deep"):
        answer = target.ask(f"{name}.example.test", tcp=tcp)
        assert answer.rcode() == dns.rcode.NXDOMAIN


def test_a_cut_is_no_end(target: Target) -> None:
    """§2 [23, 28]: below it, only its servers may say NXDOMAIN."""
    for name in ("ns.sub.example.test", "a.ns.sub.example.test"):
        assert is_referral(target.ask(name, "TXT"), "sub.example.test.")
