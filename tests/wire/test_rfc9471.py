"""RFC 9471: glue in referrals."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from wire.target import Target, is_referral


def glue(answer: dns.message.Message) -> set[tuple[str, str]]:
    """Owner and address of each record of the additional section."""
    return {
        (str(each.name).removesuffix(".example.test."), rr.address)
        for each in answer.additional
        for rr in each
    }


@pytest.mark.transports
def test_in_domain_glue_is_complete(target: Target, tcp: bool) -> None:
    """§3.1 [28]: every address of every server inside the delegated zone."""
    answer = target.resolve("www.sub.example.test", tcp=tcp)
    assert is_referral(answer, "sub.example.test.")
    assert glue(answer) == {
        ("ns.sub", "192.0.2.101"),
        ("ns.sub", "2001:db8::101"),
        ("ns2.sub", "192.0.2.102"),
    }


def test_glue_for_who_asks_without_edns(target: Target, tcp: bool) -> None:
    """§3.1 [28]."""
    assert len(glue(target.resolve("www.sub.example.test", tcp=tcp, edns=False))) == 3


@pytest.mark.transports
def test_glue_that_does_not_fit_is_told(target: Target) -> None:
    """§3.1 [28]: TC unless all of it is there."""
    for edns, payload in ((False, 512), (True, 512), (True, 600), (True, 1232)):
        answer = target.ask("www.manyns.example.test", edns=edns, payload=payload)
        assert answer.flags & dns.flags.TC or len(glue(answer)) == 24
    assert answer.flags & dns.flags.AA == 0


@pytest.mark.transports
def test_tcp_has_all_glue(target: Target) -> None:
    """§3.1 [17, 28]."""
    answer = target.ask("www.manyns.example.test", tcp=True, payload=512)
    assert is_referral(answer, "manyns.example.test.")
    assert len(answer.authority[0]) == 12
    assert len(glue(answer)) == 24


def test_sibling_glue(target: Target, tcp: bool) -> None:
    """§3.2 [28]: addresses that lie below another cut of this zone, where they fit."""
    answer = target.resolve("www.sibling.example.test", tcp=tcp)
    assert is_referral(answer, "sibling.example.test.")
    assert glue(answer) == {("ns.cousin", "192.0.2.103")}


def test_no_other_addresses(target: Target, tcp: bool) -> None:
    """§2 [28, 65]: nothing about names outside the zone."""
    assert glue(target.ask("www.away.example.test", tcp=tcp)) == set()
