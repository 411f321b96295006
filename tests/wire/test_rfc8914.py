"""RFC 8914: extended errors."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import Target, options_of

EDE = 15
NOT_AUTHORITATIVE = 20


def codes(answer: dns.message.Message) -> list[int]:
    """Every info code of the answer."""
    return [int.from_bytes(each[:2], "big") for each in options_of(answer, EDE)]


@pytest.mark.parametrize("name", ["nosuch.invalid", ".", "test", "www.elsewhere.invalid"])
def test_not_authoritative(target: Target, tcp: bool, name: str) -> None:
    """§4.21 [57]: why it was refused."""
    answer = target.ask(name, "SOA", tcp=tcp)
    assert answer.rcode() == dns.rcode.REFUSED
    assert codes(answer) == [NOT_AUTHORITATIVE]


def test_only_with_edns(target: Target, tcp: bool) -> None:
    """§3 [57]: an option needs an OPT, and the answer to a plain query has none."""
    assert target.ask("nosuch.invalid", "SOA", tcp=tcp, edns=False).edns == -1


@pytest.mark.parametrize(
    "name", ["www.example.test", "nosuch.example.test", "deep.example.test", "x.sub.example.test"]
)
def test_nothing_where_all_is_well(target: Target, tcp: bool, name: str) -> None:
    """§2 [57]: NXDOMAIN, NODATA and referrals are no errors."""
    assert codes(target.ask(name, tcp=tcp)) == []


def test_the_text_is_short(target: Target) -> None:
    """§3 [57, 65]: UTF-8 without a final zero octet, few octets."""
    for content in options_of(target.ask("nosuch.invalid", "SOA"), EDE):
        assert len(content) <= 32
        assert not content[2:].endswith(b"\0")
        content[2:].decode()
