"""RFC 4892 and other classes than IN."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest

from wire.target import Target


@pytest.mark.parametrize("rdclass", ["NONE", "HS", "CLASS4711", "CLASS0"])
@pytest.mark.parametrize("name", ["example.test", "www.example.test"])
def test_other_classes_hold_nothing(target: Target, tcp: bool, name: str, rdclass: str) -> None:
    """RFC 1035 §3.2.4, §3.2.5 [34]: refused or not understood, at once, without data."""
    asked = dns.message.make_query(name, "A", rdclass=rdclass)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    refusals = (dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.NOTAUTH)
    assert answer.rcode() in refusals
    assert answer.answer == []


@pytest.mark.decision("REFUSED, for any name and any class but IN")
@pytest.mark.parametrize("rdclass", ["CH", "ANY", "NONE", "HS"])
def test_other_classes_are_refused(target: Target, tcp: bool, rdclass: str) -> None:
    """[34]."""
    asked = dns.message.make_query("version.bind", "TXT", rdclass=rdclass)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA


@pytest.mark.decision("no version, no name of the host; NSID tells who answers")
@pytest.mark.parametrize("name", ["version.bind", "version.server", "id.server", "hostname.bind"])
def test_nothing_is_told_of_the_server(target: Target, tcp: bool, name: str) -> None:
    """§2, §3 [34]: an operator's choice."""
    asked = dns.message.make_query(name, "TXT", rdclass="CH")
    assert target.exchange(asked.to_wire(), tcp=tcp).answer == []
