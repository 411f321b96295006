"""RFC 7873: cookies."""

from __future__ import annotations

import os

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import COOKIE, Target, is_referral, options_of

pytestmark = pytest.mark.transports

CLIENT = bytes.fromhex("0102030405060708")
BADCOOKIE = 23


def cookie(content: bytes) -> list[dns.edns.Option]:
    """The option with that content."""
    return [dns.edns.GenericOption(COOKIE, content)]


def cookie_of(answer: dns.message.Message) -> bytes:
    """The one that came back."""
    (found,) = options_of(answer, COOKIE)
    return found


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test", "nosuch.invalid"])
def test_a_first_cookie(target: Target, tcp: bool, name: str) -> None:
    """§5.2.3 [36]: the client's part comes back, with a server's part of 8 to 32 octets."""
    found = cookie_of(target.ask(name, tcp=tcp, options=cookie(CLIENT)))
    assert found[:8] == CLIENT
    assert 16 <= len(found) <= 40


@pytest.mark.decision("a client without a server cookie yet is answered; BADCOOKIE under load only")
def test_a_first_cookie_is_answered(target: Target) -> None:
    """§5.2.3 [36]: one of three choices; the others cost every client a round trip."""
    answer = target.ask("www.example.test", options=cookie(CLIENT))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer


def test_a_known_cookie(target: Target, tcp: bool) -> None:
    """§5.2.5 [36]: answered, and a cookie comes back that is taken again."""
    known = cookie_of(target.ask("www.example.test", options=cookie(CLIENT)))
    answer = target.ask("www.example.test", tcp=tcp, options=cookie(known))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer
    assert cookie_of(answer)[:8] == CLIENT


def test_a_known_client_is_told_at_once(target: Target) -> None:
    """§1, §3 [36, 65]: what a stranger might have to ask for again over TCP comes over UDP."""
    answer = target.ask("sub.example.test", options=target.known())
    assert is_referral(answer, "sub.example.test.")
    assert len(target.ask("big.example.test", "TXT", options=target.known()).answer[0]) == 3


def test_tcp_never_says_badcookie(target: Target) -> None:
    """§5.2.3 [36]: TCP has shown already that the client is where it says."""
    for content in (CLIENT, CLIENT + os.urandom(16)):
        answer = target.ask("www.example.test", tcp=True, options=cookie(content))
        assert answer.rcode() == dns.rcode.NOERROR
        assert answer.answer


def test_a_wrong_cookie_is_replaced(target: Target, tcp: bool) -> None:
    """§5.2.4 [36]: answered or BADCOOKIE, in either case with a good one."""
    wrong = CLIENT + bytes.fromhex("01000000") + os.urandom(12)
    answer = target.ask("www.example.test", tcp=tcp, options=cookie(wrong))
    assert answer.rcode() in (dns.rcode.NOERROR, BADCOOKIE)
    good = cookie_of(answer)
    assert good[:8] == CLIENT
    assert good != wrong
    after = target.ask("www.example.test", tcp=tcp, options=cookie(good))
    assert after.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 64])
def test_malformed(target: Target, tcp: bool, length: int) -> None:
    """§5.2.2 [36]: 8 octets, or 16 to 40; all else is FORMERR."""
    answer = target.ask("www.example.test", tcp=tcp, options=cookie(bytes(range(1, length + 1))))
    assert answer.rcode() == dns.rcode.FORMERR
    assert answer.answer == []


@pytest.mark.parametrize("length", [16, 24, 40])
def test_any_legal_length(target: Target, tcp: bool, length: int) -> None:
    """§4.2 [36]: other servers of an anycast address may make others."""
    answer = target.ask("www.example.test", tcp=tcp, options=cookie(bytes(range(1, length + 1))))
    assert answer.rcode() in (dns.rcode.NOERROR, BADCOOKIE)


def test_no_cookie_unasked(target: Target, tcp: bool) -> None:
    """§5.2.1 [36]."""
    assert options_of(target.ask("www.example.test", tcp=tcp), COOKIE) == []


def test_asked_for_a_cookie_alone(target: Target, tcp: bool) -> None:
    """§5.4 [7, 37]: no question, no answer; the cookie."""
    asked = dns.message.Message()
    asked.use_edns(0, options=cookie(CLIENT))
    answer = target.exchange(asked.to_wire(), tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.question == answer.answer == answer.authority == []
    assert cookie_of(answer)[:8] == CLIENT
    assert len(cookie_of(answer)) >= 16


def test_another_client_has_another_cookie(target: Target) -> None:
    """§4.2, §6 [36]: a cookie seen on the way is of no use with another client part."""
    first, second = (
        cookie_of(target.ask("www.example.test", options=cookie(each)))
        for each in (CLIENT, CLIENT[::-1])
    )
    assert first[8:] != second[8:]
