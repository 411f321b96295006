"""The table of kinds, the reading of answers, and source addresses: all without a socket."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import get_args

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_healthchecks.probes import Failed, ProbeCheck, icmp, skeleton
from firsthop_healthchecks.probes import dns as dns_kind
from firsthop_healthchecks.probes.certificates import validity
from firsthop_healthchecks.probes.kinds import KINDS, probes_by_kind
from firsthop_healthchecks.probes.skeleton import SkeletonProbe
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.plan.model import ProbeKind

QUERY = dns.message.make_query("relay.example.", "A", use_edns=0)


def test_every_kind_that_can_be_asked_for_is_there() -> None:
    assert set(KINDS) == set(get_args(ProbeKind))
    assert set(probes_by_kind()) == set(KINDS)


def test_the_skeleton_is_a_probe_that_nobody_can_ask_for() -> None:
    """A copy of it fits the table: same door, and made from a source."""
    fits: ProbeCheck = SkeletonProbe(ANY)
    assert inspect.iscoroutinefunction(fits.check)
    assert inspect.iscoroutinefunction(fits.close)
    assert SkeletonProbe not in KINDS.values()


@pytest.mark.fuzz
@given(st.binary(max_size=300))
def test_no_packet_makes_a_reader_raise_or_pass(packet: bytes) -> None:
    assert dns_kind.judge(QUERY, packet) is not None
    assert icmp.judge(0, bytes(16), packet) is not None or packet[8:] == bytes(16)
    assert skeleton.judge(b"nonce", packet) is not None or packet == b"nonce"
    assert isinstance(validity(packet, datetime.now(UTC), 0), Failed)


@pytest.mark.fuzz
@given(st.data())
def test_no_broken_dns_answer_makes_the_reader_raise(data: st.DataObject) -> None:
    """A right answer with some octets turned over."""
    answer = dns.message.make_response(QUERY)
    answer.answer.append(dns.rrset.from_text("relay.example.", 60, "IN", "A", "192.0.2.1"))
    packet = bytearray(answer.to_wire())
    assert dns_kind.judge(QUERY, bytes(packet)) is None
    for _ in range(data.draw(st.integers(1, 5))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    dns_kind.judge(QUERY, bytes(packet[: data.draw(st.integers(0, len(packet)))]))


def test_an_echo_reply_must_bring_our_octets_back() -> None:
    nonce = bytes(range(16))
    assert icmp.judge(0, nonce, bytes(8) + nonce) is None
    assert icmp.judge(129, nonce, b"\x81" + bytes(7) + nonce) is None
    assert icmp.judge(0, nonce, bytes(8) + nonce[::-1]) == "echo of something else"
    assert icmp.judge(0, nonce, b"\3" + bytes(7) + nonce) == "answer is not an echo reply"


def test_a_source_is_one_address_a_family() -> None:
    both = SourceAddresses.parse(" 192.0.2.1, 2001:db8::1 ")
    assert (both.of(4), both.of(6)) == ("192.0.2.1", "2001:db8::1")
    assert SourceAddresses.parse("") == ANY
    assert SourceAddresses.parse("2001:db8::1").of(4) is None


@pytest.mark.parametrize(
    "text", ["192.0.2.1,192.0.2.2", "relay.example", "192.0.2.0/24", "::1,::2"]
)
def test_other_sources_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"two IPv|does not appear to be"):
        SourceAddresses.parse(text)
