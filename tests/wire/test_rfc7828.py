"""RFC 7828: edns-tcp-keepalive."""

from __future__ import annotations

import socket

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import Target, options_of, receive

pytestmark = pytest.mark.transports

KEEPALIVE = 11
ASKED = [dns.edns.GenericOption(KEEPALIVE, b"")]


def test_told_over_tcp(target: Target) -> None:
    """§3.1, §3.3.2 [19]: two octets, units of 100 ms; the time that a connection may be idle."""
    answer = target.ask("example.test", "SOA", tcp=True, options=ASKED)
    (value,) = options_of(answer, KEEPALIVE)
    assert len(value) == 2
    assert 0 < int.from_bytes(value, "big") <= 36_000


def test_never_over_udp(target: Target) -> None:
    """§3.3.1, §3.3.2 [19]: ignored there, and not sent."""
    answer = target.ask("example.test", "SOA", options=ASKED)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer
    assert options_of(answer, KEEPALIVE) == []


def test_a_later_query_is_answered_as_well(target: Target) -> None:
    """§3.4 [18, 19]: the connection stays open for the time that was told."""
    packet = dns.message.make_query("example.test", "SOA", use_edns=0, options=ASKED).to_wire()
    with target.connect() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            stream.sendall(len(packet).to_bytes(2, "big") + packet)
            assert options_of(dns.message.from_wire(receive(stream)), KEEPALIVE)


def test_errors_tell_it_too(target: Target) -> None:
    """§3.3.2 [19]: it is about the connection, not the question."""
    answer = target.ask("nosuch.invalid", "SOA", tcp=True, options=ASKED)
    assert answer.rcode() == dns.rcode.REFUSED
    assert len(options_of(answer, KEEPALIVE)) == 1
