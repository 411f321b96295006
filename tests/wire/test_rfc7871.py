"""RFC 7871: EDNS client subnet."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

Target = Any  # conftest.Target


def subnet_of(answer: dns.message.Message) -> dns.edns.ECSOption | None:
    """The option of an answer; never more than one."""
    found = [each for each in answer.options if isinstance(each, dns.edns.ECSOption)]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("subnet", "address", "scope"),
    [
        ("198.51.100.0/24", "192.0.2.21", 25),
        ("198.51.100.128/25", "192.0.2.31", 25),
        ("198.51.100.7/32", "192.0.2.21", 25),
        ("2001:db8:1::/48", "192.0.2.21", 48),
    ],
)
def test_tailored(target: Target, tcp: bool, subnet: str, address: str, scope: int) -> None:
    """§7.2.1: the answer of the subnet, with the scope that it holds for; it may exceed SOURCE."""
    answer = target.ask("geo.example.test", subnet=subnet, tcp=tcp)
    assert [each.address for each in answer.answer[0]] == [address]
    option = subnet_of(answer)
    assert option is not None
    assert (f"{option.address}/{option.srclen}", option.scopelen) == (subnet, scope)


def test_the_answer_holds_within_its_scope(target: Target) -> None:
    """§7.2.1, at both ends of the block."""
    answer = target.ask("geo.example.test", subnet="198.51.100.0/24")
    for inside in ("198.51.100.0/32", "198.51.100.127/32"):
        assert target.ask("geo.example.test", subnet=inside).answer == answer.answer
    assert target.ask("geo.example.test", subnet="198.51.100.128/32").answer != answer.answer


@pytest.mark.parametrize(
    "name", ["www.example.test", "nosuch.example.test", "plain.example.test", "nosuch.invalid"]
)
def test_scope_0_where_nothing_is_tailored(target: Target, tcp: bool, name: str) -> None:
    """§7.2.1, §7.4: static names, negative answers, services that do not use it."""
    option = subnet_of(target.ask(name, subnet="198.51.100.192/27", tcp=tcp))
    assert option is not None
    assert (option.address, option.srclen, option.scopelen) == ("198.51.100.192", 27, 0)


def test_never_unasked(target: Target, tcp: bool) -> None:
    """§7.2.2."""
    assert subnet_of(target.ask("geo.example.test", tcp=tcp)) is None
    assert target.ask("geo.example.test", edns=False, tcp=tcp).edns == -1


def test_source_0(target: Target, tcp: bool) -> None:
    """§7.1.2: answered, with SCOPE 0."""
    answer = target.ask("geo.example.test", subnet="0.0.0.0/0", tcp=tcp)
    option = subnet_of(answer)
    assert answer.answer
    assert option is not None
    assert (option.srclen, option.scopelen) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "000118",
        "00030000",
        "00011800c633",
        "00011800c6336400",
        "00011400c0001f",
        "00012100c633640000",
        "00011818c63364",
        "00028100" + "00" * 17,
    ],
)
def test_malformed(target: Target, tcp: bool, content: str) -> None:
    """§6, §7.2.1: FORMERR, with OPT and without the option."""
    bad = [dns.edns.GenericOption(8, bytes.fromhex(content))]
    asked = dns.message.make_query("geo.example.test", "A", use_edns=0, options=bad)
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert (answer.rcode(), answer.edns, answer.options) == (dns.rcode.FORMERR, 0, ())


def test_a_chain_ends_before_a_steered_name(target: Target, tcp: bool) -> None:
    """§7.2.1: only the alias, so that the tailored RRset is cached by itself."""
    answer = target.ask("steered.example.test", subnet="198.51.100.0/24", tcp=tcp)
    assert [str(each.name) for each in answer.answer] == ["steered.example.test."]
    option = subnet_of(answer)
    assert option is not None
    assert option.scopelen == 0
