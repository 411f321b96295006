"""RFC 6672: DNAME."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from wire.octets import walk
from wire.target import Target, data, negative_ttl, owners

pytestmark = pytest.mark.needs("DNAME")
YXDOMAIN = 6


def test_names_below_move(target: Target, tcp: bool) -> None:
    """§2.2, §3.1, §3.2: the DNAME, a synthesised CNAME with its TTL, then the data."""
    answer = target.ask("host.dname.example.test", tcp=tcp)
    assert owners(answer) == ["dname DNAME", "host.dname CNAME", "host.tree A"]
    assert data(answer, "CNAME") == ["host.tree.example.test."]
    assert data(answer, "A") == ["192.0.2.95"]
    assert answer.answer[0].ttl == answer.answer[1].ttl == 300
    assert answer.flags & dns.flags.AA


def test_the_owner_does_not_move(target: Target, tcp: bool) -> None:
    """§2.3: it has its own records, and the DNAME can be asked for."""
    assert data(target.ask("dname.example.test", "TXT", tcp=tcp), "TXT") == ['"beside a DNAME"']
    assert owners(target.ask("dname.example.test", "DNAME", tcp=tcp)) == ["dname DNAME"]
    answer = target.ask("dname.example.test", "A", tcp=tcp)
    assert (answer.rcode(), answer.answer, negative_ttl(answer)) == (dns.rcode.NOERROR, [], 60)


def test_names_that_are_not_there_after_the_move(target: Target, tcp: bool) -> None:
    """§3.2, RFC 6604 §3: NXDOMAIN of the end, with DNAME, CNAME and SOA."""
    answer = target.resolve("a.b.dname.example.test", tcp=tcp)
    assert owners(answer) == ["dname DNAME", "a.b.dname CNAME"]
    assert data(answer, "CNAME") == ["a.b.tree.example.test."]
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert negative_ttl(answer) == 60


def test_an_alias_behind_a_dname(target: Target, tcp: bool) -> None:
    """§3.2 [26]: the search goes on."""
    answer = target.resolve("alias.dname.example.test", tcp=tcp)
    assert owners(answer) == ["dname DNAME", "alias.dname CNAME", "alias.tree CNAME", "www A"]


def test_an_alias_into_a_dname(target: Target, tcp: bool) -> None:
    """§3.2 [26]."""
    answer = target.ask("intodname.example.test", tcp=tcp)
    due = ["intodname CNAME", "dname DNAME", "host.dname CNAME", "host.tree A"]
    assert owners(answer) == due


def test_the_synthesised_alias_can_be_asked_for(target: Target, tcp: bool) -> None:
    """§3.2: QTYPE CNAME is answered by it, and it is not followed."""
    answer = target.ask("host.dname.example.test", "CNAME", tcp=tcp)
    assert owners(answer) == ["dname DNAME", "host.dname CNAME"]


def test_a_dname_out_of_the_zone(target: Target, tcp: bool) -> None:
    """§3.2 [30]: DNAME and CNAME; the rest is elsewhere."""
    answer = target.ask("x.dout.example.test", tcp=tcp)
    assert owners(answer) == ["dout DNAME", "x.dout CNAME"]
    assert data(answer, "CNAME") == ["x.elsewhere.invalid."]
    assert (answer.rcode(), answer.authority) == (dns.rcode.NOERROR, [])


def test_a_dname_into_a_delegation(target: Target, tcp: bool) -> None:
    """§3.2 [28]: authority for the DNAME alone."""
    answer = target.resolve("x.dsub.example.test", tcp=tcp)
    assert owners(answer) == ["dsub DNAME", "x.dsub CNAME"]
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert all(each.rdtype == dns.rdatatype.NS for each in answer.authority)


def test_a_name_that_grows_too_long(target: Target, tcp: bool) -> None:
    """§2.2, §3.2: YXDOMAIN with the DNAME that tells why, and no CNAME."""
    answer = target.ask("x" * 60 + ".dlong.example.test", tcp=tcp)
    assert answer.rcode() == YXDOMAIN
    assert owners(answer) == ["dlong DNAME"]
    assert answer.flags & dns.flags.AA


def test_a_name_that_just_fits(target: Target, tcp: bool) -> None:
    """§2.2: 255 octets are a name."""
    room = 255 - len(dns.name.from_text("a" * 60 + "." + "b" * 60 + "." + "c" * 60).to_wire())
    room -= len(b"\4tree\7example\4test")
    answer = target.resolve("x" * (room - 1) + ".dlong.example.test", tcp=tcp)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert len(answer.answer) == 2
    longer = target.resolve("x" * room + ".dlong.example.test", tcp=tcp)
    assert longer.rcode() == YXDOMAIN


def test_dnames_in_a_circle_end(target: Target, tcp: bool) -> None:
    """§3.2 [26]: at once."""
    answer = target.resolve("x.dloop1.example.test", tcp=tcp)
    assert owners(answer)[:2] == ["dloop1 DNAME", "x.dloop1 CNAME"]


def test_the_target_is_not_shortened(target: Target, tcp: bool) -> None:
    """§2.5 [21]: nor is the synthesised owner anything but the name that was asked for."""
    packet = dns.message.make_query("hOsT.dname.example.test", "A").to_wire()
    message = walk(target.whole(packet, tcp=tcp))
    assert message.answer[0].data == b"\4tree\7example\4test\0"
    assert message.answer[1].owner.labels[0] == b"hOsT"
