"""Fast lane and slow lane say the same, and nothing that can be sent makes either raise."""

from __future__ import annotations

import random
import struct
from typing import Any

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.answer.client_keys import TCP4, TCP6, UDP4, UDP6, PeerAddress
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond, respond_strictly
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from firsthop_zones.names import to_wire

Sample = tuple[AnswerTable, GeoTable]
PEERS: dict[int, PeerAddress] = {
    UDP4: ("127.0.0.1", 5353),
    UDP6: ("::1", 5353, 0, 0),
    TCP4: ("198.51.100.200", 1),
    TCP6: ("fe80::1%lo", 1, 0, 1),
}
NAMES = ["geo.example.test", "GEO.eXample.test", "plain.example.test", "closed.example.test"]
NAMES += ["spare.example.test", "apex.test", "www.example.test", "example.test", "invalid", "."]
# Four AAAA are just three times the query, the fast lane's most; not if it is told they are old.
WIDE = ["some.example.test", "many.example.test", "many4.example.test", "l" * 63 + ".example.test"]
NAMES += [
    *WIDE,
    "whoami.example.test",
    "big.example.test",
    "loop1.example.test",
    "x.deep.example.test",
]


def wire_name(name: str) -> bytes:
    """Case kept."""
    lower = to_wire(name)
    cased = b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"
    assert cased.lower() == lower
    return cased


MUTATED = 25_000
"""`make fuzz` and `tests/wire/hostile.py` go on from there."""


def query(
    name: str, kind: int, flags: int, payload: int, ttl: int, ecs: bytes, tail: bytes = b""
) -> bytes:
    """A query with one OPT that holds `ecs` as the content of a client subnet option."""
    options = struct.pack(">HH", 8, len(ecs)) + ecs
    return (
        struct.pack(">6H", 0x4242, flags, 1, 0, 0, 1)
        + wire_name(name)
        + struct.pack(">HH", kind, 1)
        + struct.pack(">BHHIH", 0, 41, payload, ttl, len(options))
        + options
        + tail
    )


def both(
    sample: Sample, packets: list[bytes], transport: int = UDP4, **options: Any
) -> tuple[Any, Any]:
    """Replies and counters of the two lanes, each with its own tables."""
    outcomes = []
    for act in (respond, respond_strictly):
        tables = Tables(sample[0], Instance.of(DnsCounters(), options), geo=sample[1])
        replies = [act(each, PEERS[transport], tables, 0.0, transport) for each in packets]
        found = tables.counters.snapshot()
        outcomes.append((replies, {key: sorted(map(str, rows)) for key, rows in found.items()}))
    return outcomes[0], outcomes[1]


FLAGS = [0, 0x0100, 0x0010, 0x0120, 0x0200, 0x0401, 0x2000, 0x8000]
TTLS = [0, 0x8000, 0x4000, 0xC000, 0x8001, 0x10000, 0x01000000]
PAYLOADS = [0, 512, 1232, 65535]
SUBNETS = [
    b"\0\1\x18\0\xc6\x33\x64",
    b"\0\1\x18\0\xcb\0\x71",
    b"\0\1\x18\1\xc6\x33\x64",
    b"\0\1\x17\0\xc6\x33\x64",
    b"\0\1\x11\0\xc6\x33\x00",
    b"\0\1\x19\0\xc6\x33\x64",
    b"\0\2\x18\0\x20\x01\x0d",
    b"\0\3\x18\0\xc6\x33\x64",
    b"\0\1\x20\0\xc6\x33\x64\x80",
    b"\0\2\x30\0\x20\x01\x0d\xb8\0\1",
    b"\0\1\0\0",
    b"",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transport", PEERS)
def test_both_lanes_give_the_same_octets_and_counts(
    sample: Sample, name: str, transport: int
) -> None:
    """Every combination of what the fast lane looks at; twice, as the first fills its memo."""
    packets = [
        query(name, kind, flags, payload, ttl, ecs, tail)
        for kind in (1, 28, 16)
        for flags in FLAGS
        for payload in PAYLOADS[:: 1 if transport == UDP4 else 3]
        for ttl in TTLS
        for ecs in SUBNETS
        for tail in (b"", b"\0")
    ]
    if name != "geo.example.test":
        packets = random.Random(name).sample(packets, 200)
    fast, slow = both(sample, packets * 2, transport)
    assert fast == slow


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("transport", PEERS)
def test_both_lanes_give_the_same_of_long_answers(
    sample: Sample, transport: int, stale: bool
) -> None:
    """Just three times the query, and a record more, which takes the slow lane."""
    packets = [
        query(name, kind, flags, 1232, ttl, b"\0\1\x18\0\xc6\x33\x64")
        for name in WIDE
        for kind in (1, 28)
        for flags in (0, 0x0100)
        for ttl in (0, 0x8000)
    ]
    fast, slow = both(sample, packets * 2, transport, stale=stale)
    assert fast == slow
    assert all(reply[2] & 2 == 0 for reply in fast[0])


def test_the_common_query_takes_the_fast_lane(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the comparison above would prove nothing."""
    tables = Tables(sample[0], Instance.of(DnsCounters(), {}))
    monkeypatch.setattr("firsthop_dns.answer.respond.respond_strictly", lambda *_: b"slow")
    for flags in (0, 0x0100, 0x0120):
        for ttl in (0, 0x8000):
            packet = query("Geo.example.test", 1, flags, 1232, ttl, b"\0\1\x18\0\xc6\x33\x64")
            assert respond(packet, PEERS[UDP4], tables, 0.0, UDP4) != b"slow"
    for name, kind, slow in [
        ("plain.example.test", 1, True),
        ("some.example.test", 28, False),
        ("many.example.test", 28, True),
        ("many4.example.test", 1, True),
        ("l" * 63 + ".example.test", 28, False),
    ]:
        packet = query(name, kind, 0, 1232, 0, b"\0\1\x18\0\xc6\x33\x64")
        assert (respond(packet, PEERS[UDP4], tables, 0.0, UDP4) == b"slow") is slow


def test_every_prefix_of_the_map_gets_the_same_on_both_lanes(sample: Sample) -> None:
    """5,000 /24s, the map's own among them."""
    draw = random.Random(7)
    prefixes = [draw.randbytes(3) for _ in range(5000)] + [b"\xc6\x33\x64", b"\xcb\x00\x71"]
    packets = [
        query("geo.example.test", kind, 0x0100, 1232, 0, b"\0\1\x18\0" + each)
        for each in prefixes
        for kind in (1, 28)
    ]
    fast, slow = both(sample, packets)
    assert fast == slow


def seeds() -> list[bytes]:
    """Queries of every kind."""
    asked = [
        query(name, kind, 0x0120, 1232, 0x8000, b"\0\1\x18\0\xc6\x33\x64")
        for name in NAMES
        for kind in (1, 6, 28, 16, 255, 252)
    ]
    asked += [query(name, 1, 0, 512, 0, b"\0\2\x38\0" + bytes(7)) for name in NAMES]
    asked += [dns.message.make_query(name, "SOA").to_wire() for name in NAMES]
    asked += [dns.message.make_query(name, "A", use_edns=1).to_wire() for name in NAMES]
    return asked


SEEDS = seeds()


def mutated(draw: random.Random, packet: bytes) -> bytes:
    """Flipped, cut, repeated, crossed."""
    data = bytearray(packet)
    for _ in range(draw.randrange(1, 6)):
        what = draw.randrange(5)
        at = draw.randrange(len(data) + 1)
        if what == 0:
            data[at:at] = draw.randbytes(draw.randrange(1, 8))
        elif what == 1:
            del data[at : at + draw.randrange(1, 8)]
        elif what == 2:
            data += data[at : at + 64]
        elif what == 3 and data:
            data[at % len(data)] = draw.choice((0, 1, 0x3F, 0x40, 0xC0, 0xFF, 12))
        elif data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
    return bytes(data)


def test_mutated_packets(tables: Tables) -> None:
    """None raises; errors are no longer than what was asked, and no UDP reply is above 1,232.

    The fixture checks that requests = responses + drops.
    """
    draw = random.Random(20261122)
    packets = SEEDS
    for number in range(MUTATED):
        packet = mutated(draw, packets[number % len(packets)])
        transport = number & 3
        reply = respond(packet, PEERS[transport], tables, 0.0, transport)
        if reply is None:
            assert len(packet) < 12 or packet[2] & 0x80
            continue
        assert reply[:2] == packet[:2]
        assert reply[2] & 0x80
        rcode = reply[3] & 0xF
        if rcode not in (0, 3):
            assert len(reply) <= max(len(packet), 12) + 11
        if transport < TCP4:
            assert len(reply) <= 1232
        if number % 7 == 0:
            dns.message.from_wire(reply)
    total = tables.counters.total("firsthop_dns_requests_total")
    assert total == MUTATED


@pytest.mark.fuzz
@given(st.integers(0, 2**64), st.sampled_from([*PEERS]))
def test_both_lanes_agree_on_mutated_packets(sample: Sample, seed: int, transport: int) -> None:
    """Replies and counts; dnspython reads every reply."""
    draw = random.Random(seed)
    packets = [mutated(draw, draw.choice(SEEDS)) for _ in range(20)]
    fast, slow = both(sample, packets, transport)
    assert fast == slow
    for reply in filter(None, fast[0]):
        dns.message.from_wire(reply)


@pytest.mark.fuzz
@given(st.binary(max_size=300), st.sampled_from(list(PEERS)))
def test_no_octets_make_it_raise(sample: Sample, packet: bytes, transport: int) -> None:
    """Not even a well-formed header with anything behind it."""
    tables = Tables(sample[0], Instance.of(DnsCounters(), {}), geo=sample[1])
    respond(packet, PEERS[transport], tables, 0.0, transport)
    head = struct.pack(">6H", 1, 0, 1, 0, 0, 1)
    respond(head + packet, PEERS[transport], tables, 0.0, transport)
