"""RFC 2181: RRsets, cuts, names, truncation."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest

from wire.octets import walk
from wire.target import Target, data


def test_duplicates_are_folded(target: Target, tcp: bool) -> None:
    """§5: the zone file has one record twice."""
    octets = target.octets(dns.message.make_query("www.example.test", "A").to_wire(), tcp=tcp)
    assert sorted(each.data for each in walk(octets).answer) == [b"\xc0\0\2\x50", b"\xc0\0\2\x51"]


@pytest.mark.parametrize("name", ["www", "big", "huge", "ns1", "x.wild", "_sip._udp"])
def test_one_ttl_in_an_rrset(target: Target, name: str) -> None:
    """§5.2, §8 [62]: the same for all records, at most 2**31 - 1."""
    for kind in ("A", "TXT", "SRV"):
        packet = dns.message.make_query(f"{name}.example.test", kind).to_wire()
        ttls = {each.ttl for each in walk(target.octets(packet, tcp=True)).answer}
        assert len(ttls) <= 1
        assert all(ttl < 1 << 31 for ttl in ttls)


def test_no_authority_at_a_cut(target: Target, tcp: bool) -> None:
    """§6.1 [1, 28]: the NS records above a cut are not the zone's own."""
    answer = target.ask("sub.example.test", "NS", tcp=tcp)
    assert (answer.flags & dns.flags.AA, answer.answer) == (0, [])


@pytest.mark.decision("no part of an RRset, which some would cache; the RFC lets it stand")
@pytest.mark.parametrize(
    ("name", "edns", "payload"), [("big", False, 512), ("huge", True, 512), ("huge", True, 700)]
)
def test_truncation_is_never_partial(target: Target, name: str, edns: bool, payload: int) -> None:
    """§9 [16]: TC says that something of what was asked for is missing."""
    answer = target.ask(f"{name}.example.test", "TXT", edns=edns, payload=payload)
    assert answer.flags & dns.flags.TC
    assert answer.answer == []


def test_labels_hold_any_octets(target: Target, tcp: bool) -> None:
    """§11 [9]: any binary string is a label."""
    odd = target.ask("\\255\\000.odd.example.test", tcp=tcp)
    assert data(odd, "A") == ["192.0.2.66"]
    assert target.ask("\\255\\001.odd.example.test", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert target.ask("\\255\\000.example.test", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert target.ask("\\255\\000.wild.example.test", tcp=tcp).answer


def test_a_dot_inside_a_label_separates_nothing(target: Target, tcp: bool) -> None:
    r"""§11 [9]: `a\.b.odd` is there, `a.b.odd` and `b.odd` are not."""
    assert data(target.ask("a\\.b.odd.example.test", tcp=tcp), "A") == ["192.0.2.67"]
    for name in ("a.b.odd.example.test", "b.odd.example.test"):
        assert target.ask(name, tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert target.ask("www\\.example.test", tcp=tcp).rcode() == dns.rcode.REFUSED
    assert target.ask("www.example\\.test", tcp=tcp).rcode() == dns.rcode.REFUSED
    assert target.ask("x\\.www.example.test", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
