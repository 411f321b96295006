"""RFC 9715: datagrams that nobody has to fragment."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from wire.target import Target


@pytest.mark.parametrize("payload", [1232, 1400, 4096, 65535])
@pytest.mark.parametrize("name", ["www", "big", "huge", "vast"])
def test_no_datagram_over_1400_octets(target: Target, name: str, payload: int) -> None:
    """§3.1 [15]: whatever is offered, no more than fits every usual path; TC instead."""
    for kind in ("A", "TXT", "PTR"):
        packet = dns.message.make_query(
            f"{name}.example.test", kind, use_edns=0, payload=payload
        ).to_wire()
        assert len(target.octets(packet)) <= 1400


def test_what_is_too_long_is_told(target: Target) -> None:
    """§3.1 [15, 16]."""
    answer = target.ask("huge.example.test", "TXT", payload=4096)
    assert answer.flags & dns.flags.TC


@pytest.mark.transports
def test_the_size_that_is_offered(target: Target, tcp: bool) -> None:
    """§3.2, RFC 6891 §6.2.3 [15]: from 512 to 1400."""
    assert 512 <= target.ask("example.test", "SOA", tcp=tcp).payload <= 1400


@pytest.mark.transports
@pytest.mark.decision("1232 octets, as agreed on the DNS flag day of 2020")
def test_1232(target: Target, tcp: bool) -> None:
    """[15]: offered and never exceeded."""
    assert target.ask("example.test", "SOA", tcp=tcp).payload == 1232
