"""One function answers whatever the transport: UDP and TCP, IPv4 and IPv6 give the same sections.

This is why most tests of this folder ask over UDP and IPv4 only (`pytest_generate_tests`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import pytest

from wire import sample
from wire.corpus import corpus
from wire.target import Target

CORPUS = 1500
"""Packets of the corpus that are looked at: one in eight is not spoiled."""
STEERED = ("geo", "plain", "closed", "spare", "open", "nosuch.geo")
Answer = tuple[Any, ...]


def questions() -> Iterator[bytes]:
    """Every RRset of the zone, NODATA and NXDOMAIN at every owner, with EDNS and without."""
    for number, (name, rdataset) in enumerate(sample.zone().iterate_rdatasets()):
        below = name if len(name.to_wire() or b"") > 240 else dns.name.Name((b"no", *name.labels))
        for asked in (
            dns.message.make_query(name, rdataset.rdtype, use_edns=number % 2 - 1),
            dns.message.make_query(name, "TYPE4711", use_edns=0),
            dns.message.make_query(below, rdataset.rdtype, use_edns=0),
        ):
            yield asked.to_wire()
    yield from filter(is_query, (each.octets for each in corpus(CORPUS) if each.mutation == "none"))


def is_query(packet: bytes) -> bool:
    """Opcode 0, and of no type that RFC 8482 lets a server answer by transport."""
    at = 12
    while packet[at]:
        at += 1 + packet[at]
    return packet[2] & 0x78 == 0 and packet[at + 1 : at + 3] != bytes([0, dns.rdatatype.ANY])


def steered_questions() -> Iterator[bytes]:
    """Of services, as their resolver's address decides and as a client's subnet does."""
    for name in STEERED:
        for kind in ("A", "AAAA", "TXT"):
            for subnet in (None, "198.51.100.0/24", "2001:db8:2::/48"):
                options = [dns.edns.ECSOption.from_text(subnet)] if subnet else []
                asked = dns.message.make_query(
                    f"{name}.example.test", kind, use_edns=0, options=options
                )
                yield asked.to_wire()


def sections(octets: bytes) -> Answer:
    """What is said, without what belongs to the transport: EDNS options and the room there is."""
    answer = dns.message.from_wire(octets)
    shown = [
        sorted((str(each.name), each.rdtype, each.ttl, *sorted(map(str, each))) for each in section)
        for section in (answer.answer, answer.authority)
    ]
    return (answer.id, answer.rcode(), answer.flags & ~dns.flags.TC, answer.edns, *shown)


def alike(first: bytes, second: bytes) -> bool:
    """Whether two answers say the same."""
    return first == second or sections(first) == sections(second)


@pytest.mark.transports
@pytest.mark.needs("loops")
@pytest.mark.decision("UDP and TCP say the same of every name")
def test_udp_and_tcp_answer_alike(target: Target) -> None:
    """RFC 7766 §6: what a resolver gets in the end does not depend on how it asks."""
    asked = [*questions()]
    assert len(asked) > 500
    for packet in asked:
        assert alike(target.whole(packet), target.octets(packet, tcp=True)), packet.hex()


def test_both_families_answer_alike(serve: Callable[..., Target]) -> None:
    """Names, services and their subnets alike; both loopback addresses stand in one region."""
    first, second = serve("127.0.0.1"), serve("::1")
    for packet in (*questions(), *steered_questions()):
        assert alike(first.octets(packet), second.octets(packet)), packet.hex()


@pytest.mark.steered
@pytest.mark.transports
def test_udp_and_tcp_steer_alike(target: Target) -> None:
    """The decision knows the client, not the transport."""
    for packet in steered_questions():
        assert alike(target.octets(packet), target.octets(packet, tcp=True)), packet.hex()
