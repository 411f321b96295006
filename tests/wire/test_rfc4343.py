"""RFC 4343: names are compared without case, and keep it."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from wire.target import Target, data


@pytest.mark.parametrize(
    "name",
    ["wWw.eXaMpLe.TeSt", "NOSUCH.example.TEST", "A.B.Wild.Example.Test", "X.SUB.EXAMPLE.test"],
)
def test_the_question_comes_back_octet_for_octet(target: Target, tcp: bool, name: str) -> None:
    """§4.1 [20]: what resolvers rely on that hide a secret in the case (0x20)."""
    packet = dns.message.make_query(name, "A").to_wire()
    answer = target.octets(packet, tcp=tcp)
    assert answer[12 : len(packet)] == packet[12:]


def test_looked_up_without_case(target: Target, tcp: bool) -> None:
    """§3 [20]."""
    for name in ("WWW.EXAMPLE.TEST", "www.example.test", "wwW.examplE.Test"):
        assert data(target.ask(name, tcp=tcp), "A") == ["192.0.2.80", "192.0.2.81"]
    for name in ("mixed.odd.example.test", "MIXED.ODD.example.test"):
        assert target.ask(name, "TXT", tcp=tcp).answer


def test_only_letters_of_ascii_have_case(target: Target, tcp: bool) -> None:
    r"""§3 [9, 20]: `\196` and `\228`, `[` and `{` are different."""
    for there, other in (("\\196", "\\228"), ("\\091", "\\123")):
        assert target.ask(f"{there}.odd.example.test", "TXT", tcp=tcp).answer
        answer = target.ask(f"{other}.odd.example.test", "TXT", tcp=tcp)
        assert answer.rcode() == dns.rcode.NXDOMAIN
