"""RFC 1034 §4.3.2: aliases and delegations, as the algorithm of a name server has them."""

from __future__ import annotations

import dns.flags
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target, data, is_referral, negative_ttl, owners


def test_a_chain_is_followed_inside_the_zone(target: Target, tcp: bool) -> None:
    """§4.3.2 step 3a [26]: each alias in order, then the data; AA for the first owner."""
    answer = target.ask("chain.example.test", tcp=tcp)
    assert owners(answer) == ["chain CNAME", "link CNAME", "www A"]
    assert data(answer, "A") == ["192.0.2.80", "192.0.2.81"]
    assert [each.ttl for each in answer.answer] == [300, 30, 90]
    assert answer.flags == dns.flags.QR | dns.flags.AA


def test_the_alias_itself_is_not_followed(target: Target, tcp: bool) -> None:
    """§3.6.2 [26]: QTYPE CNAME matches the alias."""
    answer = target.ask("chain.example.test", "CNAME", tcp=tcp)
    assert owners(answer) == ["chain CNAME"]


@pytest.mark.decision("eight links go into one answer; the resolver asks on from the last")
def test_eight_links_are_followed_to_the_end(target: Target, tcp: bool) -> None:
    """[26]: so many are useful."""
    answer = target.resolve("eight.example.test", tcp=tcp)
    assert len(answer.answer) == 9
    assert data(answer, "A") == ["192.0.2.98"]


def test_a_long_chain_ends_somewhere(target: Target, tcp: bool) -> None:
    """[26]: what is given is the chain from its start, each link once."""
    answer = target.resolve("long.example.test", tcp=tcp)
    count = len(answer.answer)
    names = ["long", *(f"long{number}" for number in range(2, 13))]
    kinds = ["CNAME"] * 11 + ["A"]
    assert count >= 1
    assert owners(answer) == [f"{a} {b}" for a, b in zip(names, kinds, strict=True)][:count]


@pytest.mark.decision("a chain that is too long is no error: NOERROR, and the resolver asks on")
def test_a_long_chain_is_noerror(target: Target, tcp: bool) -> None:
    """[26]."""
    assert target.ask("long.example.test", tcp=tcp).rcode() == dns.rcode.NOERROR


@pytest.mark.needs("loops")
@pytest.mark.parametrize(
    ("name", "links"),
    [
        ("loop1.example.test", {"loop1 CNAME", "loop2 CNAME"}),
        ("self.example.test", {"self CNAME"}),
        ("a.spin.example.test", {"a.spin CNAME", "more.spin CNAME"}),
    ],
)
def test_loops_end(target: Target, tcp: bool, name: str, links: set[str]) -> None:
    """§3.6.2, §5.2.2 [26]: each alias once; the data given is right, and it comes at once."""
    answer = target.ask(name, tcp=tcp)
    assert set(owners(answer)) == links
    assert len(answer.answer) == len(links)


@pytest.mark.needs("loops")
@pytest.mark.decision("a loop is no error of the server: NOERROR and the links, not SERVFAIL")
def test_a_loop_is_noerror(target: Target, tcp: bool) -> None:
    """[26]."""
    assert target.ask("loop1.example.test", tcp=tcp).rcode() == dns.rcode.NOERROR


def test_an_alias_out_of_the_zone_is_left_to_the_resolver(target: Target, tcp: bool) -> None:
    """§4.3.2 [26, 30]: no authority over what is elsewhere."""
    answer = target.ask("out.example.test", tcp=tcp)
    assert (answer.rcode(), owners(answer)) == (dns.rcode.NOERROR, ["out CNAME"])
    assert answer.authority == answer.additional == []


@pytest.mark.parametrize("kind", ["A", "NS", "MX", "TYPE65280", "SOA"])
@pytest.mark.parametrize("name", ["sub.example.test", "x.y.sub.example.test"])
def test_a_delegation_refers(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§4.3.2 step 3b [28]: at the cut and below it, whatever is asked for."""
    answer = target.resolve(name, kind, tcp=tcp)
    assert is_referral(answer, "sub.example.test.")
    names = sorted(str(each) for each in answer.authority[0])
    assert names == ["ns.sub.example.test.", "ns2.sub.example.test."]


def test_glue_is_no_answer(target: Target, tcp: bool) -> None:
    """§4.2.1 [1, 28]: addresses below the cut help to find the servers, and are not ours."""
    for kind in ("A", "AAAA", "TXT"):
        assert is_referral(
            target.resolve("ns.sub.example.test", kind, tcp=tcp), "sub.example.test."
        )


def test_a_delegation_without_glue(target: Target, tcp: bool) -> None:
    """§4.2.1 [28]: servers elsewhere are found elsewhere."""
    answer = target.ask("www.away.example.test", tcp=tcp)
    assert is_referral(answer, "away.example.test.")
    assert answer.additional == []


def test_an_alias_into_a_delegation(target: Target, tcp: bool) -> None:
    """§4.3.2 [26, 28]: the alias with authority, then a referral."""
    answer = target.resolve("intosub.example.test", tcp=tcp)
    assert owners(answer) == ["intosub CNAME"]
    assert answer.flags & dns.flags.AA
    assert answer.rcode() == dns.rcode.NOERROR
    kinds = {each.rdtype for each in answer.authority}
    assert kinds <= {dns.rdatatype.NS}


@pytest.mark.decision("the servers of the cut come along, which saves the resolver a question")
def test_an_alias_into_a_delegation_names_its_servers(target: Target, tcp: bool) -> None:
    """§4.3.2 step 3b [28]."""
    answer = target.resolve("intosub.example.test", tcp=tcp)
    assert [str(each.name) for each in answer.authority] == ["sub.example.test."]


def test_nothing_below_a_cut_is_ever_denied(target: Target, tcp: bool) -> None:
    """§4.3.2 [28]: NXDOMAIN would be a lie about another's zone."""
    for name in ("nosuch.sub.example.test", "a.b.c.sub.example.test", "x.ns.sub.example.test"):
        assert is_referral(target.resolve(name, tcp=tcp), "sub.example.test.")


@pytest.mark.steered
def test_nested_zone(target: Target, tcp: bool) -> None:
    """§4.3.2 step 2: the most specific zone answers, with its own SOA."""
    answer = target.ask("nosuch.in.inner.example.test", tcp=tcp)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert negative_ttl(answer, "in.inner.example.test.") == 30
    assert target.ask("host.in.inner.example.test", tcp=tcp).answer
    assert target.ask("inner.example.test", tcp=tcp).rcode() == dns.rcode.NOERROR
