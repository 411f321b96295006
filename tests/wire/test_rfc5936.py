"""RFC 5936, 1995: zone transfers, of which this suite gives nobody any."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target

REFUSALS = (dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.FORMERR)


def transfer(kind: str, zone: str = "example.test") -> bytes:
    """A request; IXFR names the serial that the asker has (RFC 1995 §3)."""
    asked = dns.message.make_query(zone, kind)
    if kind == "IXFR":
        soa = f"{zone}. 0 IN SOA . . 1 0 0 0 0"
        asked = dns.message.from_text(
            f"id 1\nopcode QUERY\n;QUESTION\n{zone}. IN IXFR\n;AUTHORITY\n{soa}\n"
        )
    return asked.to_wire()


@pytest.mark.transports
@pytest.mark.parametrize("zone", ["example.test", "nosuch.invalid"])
def test_axfr_without_leave(target: Target, zone: str) -> None:
    """RFC 5936 §2.2.1, §5 [33]: one message that refuses."""
    answer = target.exchange(transfer("AXFR", zone), tcp=True)
    assert answer.rcode() in REFUSALS
    assert answer.answer == []


@pytest.mark.transports
def test_axfr_over_udp(target: Target) -> None:
    """RFC 5936 §4.2 [33]: not defined; never the zone, never silence."""
    answer = target.exchange(transfer("AXFR"))
    assert answer.rcode() in REFUSALS
    assert answer.answer == []


@pytest.mark.transports
def test_ixfr_without_leave(target: Target, tcp: bool) -> None:
    """RFC 1995 §2, §4 [33]: refused, or the SOA alone, which says: ask for all of it by TCP."""
    answer = target.exchange(transfer("IXFR"), tcp=tcp)
    kinds = [each.rdtype for each in answer.answer]
    assert answer.rcode() in REFUSALS or kinds == [dns.rdatatype.SOA]


@pytest.mark.transports
@pytest.mark.decision("REFUSED over both transports")
@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(target: Target, tcp: bool, kind: str) -> None:
    """[33]."""
    assert target.exchange(transfer(kind), tcp=tcp).rcode() == dns.rcode.REFUSED
