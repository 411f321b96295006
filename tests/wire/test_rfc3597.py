"""RFC 3597: types that nobody knew when the server was written."""

from __future__ import annotations

import dns.message
import dns.name
import dns.rcode
import pytest

from wire import sample
from wire.octets import walk
from wire.target import Target, negative_ttl


@pytest.mark.parametrize(
    ("number", "octets"),
    [
        (65280, b"\x0a\0\0\1"),
        pytest.param(65281, b"", marks=pytest.mark.needs("empty-rdata")),
        (65282, b"\3www\7Example\4test\0"),
    ],
)
def test_unknown_types_are_octets(target: Target, tcp: bool, number: int, octets: bytes) -> None:
    """§3, §4 [32]: answered as they were written; what looks like a name is not shortened."""
    packet = dns.message.make_query("unknown.example.test", f"TYPE{number}").to_wire()
    (record,) = walk(target.octets(packet, tcp=tcp)).answer
    assert (record.kind, record.data) == (number, octets)


def test_known_types_in_generic_form(target: Target, tcp: bool) -> None:
    r"""§5: `TYPE1 \# 4 c0000264` is an A record."""
    packet = dns.message.make_query("generic.example.test", "A").to_wire()
    (record,) = walk(target.octets(packet, tcp=tcp)).answer
    assert (record.kind, record.data) == (1, b"\xc0\0\2\x64")


@pytest.mark.parametrize("number", [54, 62, 107, 110, 127, 256, 999, 32770, 65279, 65534])
def test_unassigned_types_are_nodata(target: Target, tcp: bool, number: int) -> None:
    """§3, RFC 8906 §3.1.2 [22, 32]: a type like any other, which this name has not."""
    answer = target.ask("www.example.test", f"TYPE{number}", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_sip._udp", "SRV"),
        ("naptr", "NAPTR"),
        ("_dns", "SVCB"),
        ("_other", "SVCB"),
        ("alias", "HTTPS"),
        pytest.param("dname", "DNAME", marks=pytest.mark.needs("DNAME")),
    ],
)
def test_no_shortened_names_in_newer_types(target: Target, name: str, kind: str) -> None:
    """§4 [21]: a reader that does not know the type could not expand them."""
    owner = dns.name.from_text(f"{name}.example.test")
    due = sorted(each.to_wire() for each in sample.zone().find_rdataset(owner, kind))
    packet = dns.message.make_query(owner, kind).to_wire()
    assert sorted(each.data for each in walk(target.octets(packet, tcp=True)).answer) == due
