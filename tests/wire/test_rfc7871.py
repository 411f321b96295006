"""RFC 7871: EDNS client subnet."""

from __future__ import annotations

from itertools import pairwise

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import Target, options_of

ECS = 8


def subnet_of(answer: dns.message.Message) -> dns.edns.ECSOption | None:
    """The option of an answer; never more than one."""
    found = [each for each in answer.options if isinstance(each, dns.edns.ECSOption)]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.transports
@pytest.mark.steered
@pytest.mark.parametrize(
    ("subnet", "address", "scope"),
    [
        ("198.51.100.0/24", "192.0.2.21", 25),
        ("198.51.100.128/25", "192.0.2.31", 25),
        ("198.51.100.7/32", "192.0.2.21", 25),
        ("2001:db8:1::/48", "192.0.2.21", 48),
        ("2001:db8:1:2::/64", "192.0.2.21", 48),
    ],
)
def test_tailored(target: Target, tcp: bool, subnet: str, address: str, scope: int) -> None:
    """§6, §7.2.1 [40, 44]: the answer of the subnet, and the block that it holds for.

    SCOPE may exceed SOURCE; families of subnet, transport and type need not agree.
    """
    answer = target.ask("geo.example.test", subnet=subnet, tcp=tcp)
    assert [each.address for each in answer.answer[0]] == [address]
    option = subnet_of(answer)
    assert option is not None
    assert (f"{option.address}/{option.srclen}", option.scopelen) == (subnet, scope)


@pytest.mark.steered
def test_the_answer_holds_within_its_scope(target: Target) -> None:
    """§7.2.1 [40]: at both ends of the block, and not beyond."""
    answer = target.ask("geo.example.test", subnet="198.51.100.0/24")
    for inside in ("198.51.100.0/32", "198.51.100.127/32"):
        assert target.ask("geo.example.test", subnet=inside).answer == answer.answer
    assert target.ask("geo.example.test", subnet="198.51.100.128/32").answer != answer.answer


@pytest.mark.steered
def test_scopes_never_overlap(target: Target) -> None:
    """§7.2.1 [40]: every address has one block, whatever length it is asked with."""
    blocks = {}
    for last in range(0, 256, 5):
        for length in (32, 24):
            address = f"198.51.100.{last & -1 << 32 - length & 0xFF}"
            option = subnet_of(target.ask("geo.example.test", subnet=f"{address}/{length}"))
            assert option is not None
            scope = option.scopelen
            first = int.from_bytes(bytes(map(int, address.split("."))), "big") >> 32 - scope
            blocks[first << 32 - scope] = scope
    edges = sorted(blocks.items())
    for (first, scope), (second, _) in pairwise(edges):
        assert first + (1 << 32 - scope) <= second


@pytest.mark.parametrize("subnet", ["198.51.100.192/27", "198.51.100.0/24", "2001:db8:7::/48"])
@pytest.mark.parametrize(
    "name",
    [
        "www.example.test",
        "nosuch.example.test",
        "deep.example.test",
        "x.sub.example.test",
        "nosuch.invalid",
        pytest.param("plain.example.test", marks=pytest.mark.steered),
        pytest.param("closed.example.test", marks=pytest.mark.steered),
    ],
)
def test_scope_0_where_nothing_is_tailored(
    target: Target, tcp: bool, name: str, subnet: str
) -> None:
    """§7.2.1, §7.4, §12.1 [38, 39, 46]: FAMILY, SOURCE and ADDRESS as they came, in every answer.

    Static names, negative answers, referrals, refusals, services that do not use it.
    """
    option = subnet_of(target.ask(name, subnet=subnet, tcp=tcp))
    assert option is not None
    assert (f"{option.address}/{option.srclen}", option.scopelen) == (subnet, 0)


def test_in_truncated_answers(target: Target) -> None:
    """§7.2.1 [38]."""
    answer = target.ask("huge.example.test", "TXT", subnet="198.51.100.0/24")
    assert answer.flags & dns.flags.TC
    assert subnet_of(answer) is not None


def test_never_unasked(target: Target, tcp: bool) -> None:
    """§7.2.1 [38]."""
    assert subnet_of(target.ask("www.example.test", tcp=tcp)) is None
    assert target.ask("www.example.test", edns=False, tcp=tcp).edns == -1


@pytest.mark.transports
@pytest.mark.steered
def test_never_unasked_of_a_steered_name(target: Target, tcp: bool) -> None:
    """§7.2.1 [48]: tailored to the resolver's address, which is no subnet option."""
    answer = target.ask("geo.example.test", tcp=tcp)
    assert subnet_of(answer) is None
    assert {each.address for each in answer.answer[0]} == {"192.0.2.11", "192.0.2.12"}


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test"])
def test_source_0(target: Target, tcp: bool, name: str) -> None:
    """§7.1.2, §7.5 [42]: "do not tell them apart" is never refused; SCOPE 0."""
    answer = target.ask(name, subnet="0.0.0.0/0", tcp=tcp)
    option = subnet_of(answer)
    assert answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
    assert option is not None
    assert (option.srclen, option.scopelen) == (0, 0)


@pytest.mark.transports
@pytest.mark.steered
def test_source_0_of_a_steered_name(target: Target, tcp: bool) -> None:
    """§7.1.2 [42]: by the resolver's address."""
    for subnet in ("0.0.0.0/0", "::/0"):
        answer = target.ask("geo.example.test", subnet=subnet, tcp=tcp)
        option = subnet_of(answer)
        assert answer.answer == target.ask("geo.example.test", tcp=tcp).answer
        assert option is not None
        assert (option.srclen, option.scopelen) == (0, 0)


def malformed(target: Target, content: str, *, tcp: bool, name: str) -> dns.message.Message:
    """The answer to an option with that content."""
    bad = [dns.edns.GenericOption(ECS, bytes.fromhex(content))]
    asked = dns.message.make_query(name, "A", use_edns=0, options=bad)
    return target.exchange(asked.to_wire(), tcp=tcp)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="nothing"),
        pytest.param("000118", id="no SCOPE"),
        pytest.param("00030000", id="family 3"),
        pytest.param("00031800c63364", id="family 3 with an address"),
        pytest.param("00011800c633", id="too few octets"),
        pytest.param("00011800c6336400", id="too many octets"),
        pytest.param("00011400c0001f", id="bits beyond SOURCE"),
        pytest.param("00012100c633640000", id="SOURCE 33"),
        pytest.param("00011818c63364", id="SCOPE in a query"),
        pytest.param("00028100" + "00" * 17, id="SOURCE 129"),
    ],
)
def test_malformed(target: Target, tcp: bool, content: str) -> None:
    """§6, §7.1.2, §7.2.1 [43]: FORMERR, with OPT and without the option [38]."""
    answer = malformed(target, content, tcp=tcp, name="www.example.test")
    assert (answer.rcode(), answer.edns) == (dns.rcode.FORMERR, 0)
    assert options_of(answer, ECS) == []


@pytest.mark.decision("family 0 with nothing in it is taken: `dig +subnet=0` and stubs send it")
def test_family_0(target: Target, tcp: bool) -> None:
    """§6 [43]: no family; BIND takes it as well."""
    empty = [dns.edns.GenericOption(ECS, bytes(4))]
    asked = dns.message.make_query("www.example.test", "A", use_edns=0, options=empty)
    octets = target.octets(asked.to_wire(), tcp=tcp)
    assert octets[3] & 0xF == dns.rcode.NOERROR
    assert octets.endswith(bytes([0, ECS, 0, 4, 0, 0, 0, 0]))


@pytest.mark.steered
def test_a_chain_ends_before_a_steered_name(target: Target, tcp: bool) -> None:
    """§7.2.1 [47]: only the alias, so that the tailored RRset is cached by itself."""
    answer = target.ask("steered.example.test", subnet="198.51.100.0/24", tcp=tcp)
    assert [str(each.name) for each in answer.answer] == ["steered.example.test."]
    option = subnet_of(answer)
    assert option is not None
    assert option.scopelen == 0


@pytest.mark.transports
@pytest.mark.steered
@pytest.mark.parametrize(
    ("subnet", "block"),
    [
        ("10.1.2.0/24", 8),
        ("172.16.5.0/24", 12),
        ("192.168.1.0/24", 16),
        ("127.0.0.1/32", 8),
        ("169.254.9.0/24", 16),
        ("100.64.1.0/24", 10),
        ("fd00:1234::/48", 7),
        ("fe80::/64", 9),
    ],
)
def test_addresses_that_are_nowhere(target: Target, tcp: bool, subnet: str, block: int) -> None:
    """§10 [45]: the resolver's address decides; SCOPE covers no more than the private block."""
    answer = target.ask("geo.example.test", subnet=subnet, tcp=tcp)
    option = subnet_of(answer)
    assert answer.answer == target.ask("geo.example.test", tcp=tcp).answer
    assert option is not None
    assert f"{option.address}/{option.srclen}" == subnet
    assert option.scopelen >= block


@pytest.mark.steered
def test_additional_data_ignores_the_subnet(target: Target, tcp: bool) -> None:
    """§7.2.1 [41]: no tailored RRset stands beside the answer."""
    answer = target.ask("example.test", "NS", subnet="198.51.100.0/24", tcp=tcp)
    option = subnet_of(answer)
    assert option is not None
    assert option.scopelen == 0
    assert "geo.example.test." not in {str(each.name) for each in answer.additional}
