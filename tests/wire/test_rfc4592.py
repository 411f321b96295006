"""RFC 4592: wildcards."""

from __future__ import annotations

import dns.rcode
import pytest

from wire.target import Target, data, is_referral, negative_ttl, owners

ZONE = ".rfc4592.example.test"


def nodata(target: Target, name: str, kind: str, *, tcp: bool) -> bool:
    """Whether the name is there without that type."""
    answer = target.ask(name, kind, tcp=tcp)
    return (answer.rcode(), answer.answer, negative_ttl(answer)) == (dns.rcode.NOERROR, [], 60)


def nxdomain(target: Target, name: str, kind: str, *, tcp: bool) -> bool:
    """Whether nothing is there."""
    answer = target.ask(name, kind, tcp=tcp)
    return (answer.rcode(), answer.answer, negative_ttl(answer)) == (dns.rcode.NXDOMAIN, [], 60)


@pytest.mark.parametrize("label", ["x", "a.b", "a.b.c.d", "*.x", "\\000", "a\\.b", "_tcp"])
def test_any_number_of_labels(target: Target, tcp: bool, label: str) -> None:
    """§3.3.1, §3.3.2 [25]: synthesised under the name that was asked for."""
    answer = target.ask(f"{label}.wild.example.test", tcp=tcp)
    assert data(answer, "A") == ["192.0.2.90"]
    assert answer.answer[0].name == answer.question[0].name


def test_the_parent_is_not_matched(target: Target, tcp: bool) -> None:
    """§2.2.2 [25]: it is an empty non-terminal."""
    assert nodata(target, "wild.example.test", "A", tcp=tcp)


def test_another_type_at_a_wildcard_is_nodata(target: Target, tcp: bool) -> None:
    """§2.2.1 [25]."""
    assert nodata(target, "x.wild.example.test", "MX", tcp=tcp)


def test_an_existing_name_blocks(target: Target, tcp: bool) -> None:
    """§2.2.1 [25]: for itself, whatever types it has, and for all below it."""
    assert nodata(target, "exists.wild.example.test", "A", tcp=tcp)
    assert nxdomain(target, "x.exists.wild.example.test", "A", tcp=tcp)


def test_an_empty_non_terminal_blocks(target: Target, tcp: bool) -> None:
    """§2.2.2 [23, 25]: it exists though it has nothing."""
    assert nodata(target, "ent.wild.example.test", "A", tcp=tcp)
    assert nxdomain(target, "x.ent.wild.example.test", "A", tcp=tcp)


def test_the_wildcard_itself_can_be_asked_for(target: Target, tcp: bool) -> None:
    """§2.1.1, §2.3 [25]: a name like any other."""
    answer = target.ask("*.wild.example.test", tcp=tcp)
    assert owners(answer) == ["*.wild A"]
    assert nodata(target, "*.wild.example.test", "MX", tcp=tcp)
    assert nxdomain(target, "x.*.wild.example.test", "A", tcp=tcp)


def test_an_asterisk_in_data_is_plain(target: Target, tcp: bool) -> None:
    """§2.1.1 [25]: it stays as written, and an alias to it means that very name."""
    assert data(target.ask("star.example.test", "MX", tcp=tcp), "MX") == ["10 *.wild.example.test."]
    answer = target.ask("starcname.example.test", tcp=tcp)
    assert owners(answer) == ["starcname CNAME", "*.wild A"]


def test_an_alias_at_a_wildcard(target: Target, tcp: bool) -> None:
    """§3.3.3, §4.3 [25, 26]: synthesised, then followed."""
    answer = target.ask("x.cwild.example.test", tcp=tcp)
    assert owners(answer) == ["x.cwild CNAME", "www A"]
    assert owners(target.ask("x.cwild.example.test", "CNAME", tcp=tcp)) == ["x.cwild CNAME"]


def test_an_alias_at_a_wildcard_to_nothing(target: Target, tcp: bool) -> None:
    """§3.3.3, RFC 6604 §3 [25, 26]: rcode of the end."""
    answer = target.ask("x.cdangling.example.test", tcp=tcp)
    assert (answer.rcode(), owners(answer)) == (dns.rcode.NXDOMAIN, ["x.cdangling CNAME"])
    assert negative_ttl(answer) == 60


def test_an_alias_to_what_a_wildcard_gives(target: Target, tcp: bool) -> None:
    """§3.3.3 [25, 26]: the search begins anew for every link."""
    assert owners(target.ask("intowild.example.test", tcp=tcp)) == ["intowild CNAME", "x.wild A"]
    answer = target.ask("y.again.example.test", tcp=tcp)
    assert owners(answer) == ["y.again CNAME", "x.wild A"]


@pytest.mark.parametrize(
    ("name", "kind", "due"),
    [
        ("host3", "MX", "10 host1.rfc4592.example.test."),
        ("foo.bar", "TXT", '"this is a wildcard"'),
        pytest.param(
            "sub.*", "TXT", '"this is not a wildcard"', marks=pytest.mark.needs("star-inside")
        ),
    ],
)
def test_the_example_of_the_rfc_answers(
    target: Target, tcp: bool, name: str, kind: str, due: str
) -> None:
    """§2.2.1 [25]."""
    assert data(target.ask(name + ZONE, kind, tcp=tcp), kind) == [due]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("host3", "A"),
        ("host1", "MX"),
        pytest.param("sub.*", "MX", marks=pytest.mark.needs("star-inside")),
        ("_tcp.host1", "A"),
        ("host2", "MX"),
    ],
)
def test_the_example_of_the_rfc_has_nodata(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§2.2.1 [25]."""
    assert nodata(target, name + ZONE, kind, tcp=tcp)


@pytest.mark.parametrize(
    ("name", "kind"), [("_telnet._tcp.host1", "SRV"), ("ghost.*", "MX"), ("x.host1", "MX")]
)
def test_the_example_of_the_rfc_has_nxdomain(
    target: Target, tcp: bool, name: str, kind: str
) -> None:
    """§2.2.1 [25]: the closest encloser has no asterisk below it."""
    assert nxdomain(target, name + ZONE, kind, tcp=tcp)


def test_no_wildcard_reaches_below_a_cut(target: Target, tcp: bool) -> None:
    """§2.2.1 [25, 28]."""
    answer = target.ask("host.subdel" + ZONE, tcp=tcp)
    assert is_referral(answer, "subdel.rfc4592.example.test.")
