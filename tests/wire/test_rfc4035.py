"""RFC 4035 for a zone without signatures: DS at the cut, AD, CD, DO."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target, data, is_referral, negative_ttl


@pytest.mark.needs("DS")
def test_ds_is_the_parents(target: Target, tcp: bool) -> None:
    """§3.1.4.1 [29]: an answer with authority, at the one name where all else is a referral."""
    answer = target.ask("signed.example.test", "DS", tcp=tcp)
    assert answer.flags & dns.flags.AA
    assert data(answer, "DS") == ["12345 13 2 " + "0123456789abcdef" * 4]


def test_no_ds_is_nodata(target: Target, tcp: bool) -> None:
    """§3.1.4.1 [29]: with the parent's SOA, never a referral."""
    answer = target.ask("sub.example.test", "DS", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_ds_below_a_cut_is_a_referral(target: Target, tcp: bool) -> None:
    """§3.1.4.1 [28, 29]: only at the cut does the parent know."""
    assert is_referral(target.resolve("x.sub.example.test", "DS", tcp=tcp), "sub.example.test.")


def test_ds_elsewhere_is_nodata(target: Target, tcp: bool) -> None:
    """§3.1.4.1 [29]: at the apex, at a host, at an empty non-terminal."""
    for name in ("example.test", "www.example.test", "deep.example.test"):
        answer = target.ask(name, "DS", tcp=tcp)
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
        assert negative_ttl(answer) == 60


@pytest.mark.needs("DS")
def test_a_referral_brings_the_ds_only_to_who_validates(target: Target, tcp: bool) -> None:
    """§3.1.4 [28, 29]: never without DO; with it, an unsigned parent's DS proves nothing."""
    for dnssec_ok in (False, True):
        answer = target.ask("www.signed.example.test", tcp=tcp, dnssec_ok=dnssec_ok)
        assert is_referral(answer, "signed.example.test.")
        found = [each for each in answer.authority if each.rdtype == dns.rdatatype.DS]
        assert len(found) <= dnssec_ok


@pytest.mark.decision("CD is cleared, as the RFC asks; some copy it")
def test_cd_is_cleared(target: Target, tcp: bool) -> None:
    """§3.1.6 [3]: "SHOULD clear the CD bit"."""
    asked = dns.message.make_query("example.test", "SOA", want_dnssec=True)
    asked.flags = dns.flags.CD
    assert not target.exchange(asked.to_wire(), tcp=tcp).flags & dns.flags.CD


def test_ad_is_clear(target: Target, tcp: bool) -> None:
    """§3.1.6 [3]: nothing here was validated."""
    asked = dns.message.make_query("example.test", "SOA", want_dnssec=True)
    asked.flags = dns.flags.AD
    assert not target.exchange(asked.to_wire(), tcp=tcp).flags & dns.flags.AD


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test", "deep.example.test"])
def test_do_changes_no_data(target: Target, tcp: bool, name: str) -> None:
    """§3.1 [49]: an unsigned zone gives the same with and without."""
    plain, secure = (target.ask(name, tcp=tcp, dnssec_ok=each) for each in (False, True))
    assert (plain.rcode(), plain.answer, plain.authority) == (
        secure.rcode(),
        secure.answer,
        secure.authority,
    )
