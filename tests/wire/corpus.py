"""A deterministic corpus of hostile packets: ordinary queries of the sample zone, mutated.

Knows what a query looks like and how to spoil it; nothing of sockets. The same seed gives the same
octets on every machine.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import dns.edns
import dns.message
import dns.name
import dns.rdatatype

from wire import sample

LONG_ANSWERS = (b"big", b"huge", b"vast", b"manyns", b"strings", b"dlong", b"long", b"eight")
"""Names whose right answers are long."""
KINDS = ["A", "AAAA", "NS", "SOA", "CNAME", "DNAME", "MX", "TXT", "CAA", "SRV", "NAPTR", "PTR"]
KINDS += ["SSHFP", "TLSA", "URI", "DS", "HTTPS", "SVCB", "ANY", "RRSIG", "NSEC", "DNSKEY", "HINFO"]
KINDS += ["AXFR", "IXFR", "OPT", "TSIG", "TKEY", "MAILB", "TYPE0", "TYPE128", "TYPE65280"]
_HEADER = struct.Struct(">6H")


class Packet(NamedTuple):
    """One packet and what was done to it."""

    octets: bytes
    mutation: str


Mutation = Callable[[bytes, random.Random], bytes]


def corpus(count: int, *, seed: int = 1, long_answers: bool = False) -> Iterator[Packet]:
    """That many packets: one in eight as it was, the others spoiled once to three times.

    Names with long answers say nothing about hostility, so they are asked for only on request.
    """
    rng = random.Random(seed)
    names = _names(long_answers)
    for _ in range(count):
        octets = _query(rng, names)
        if not rng.randrange(8):
            yield Packet(octets, "none")
            continue
        chosen = rng.choices(list(MUTATIONS), k=rng.choice([1, 1, 1, 2, 3]))
        for mutation in chosen:
            octets = MUTATIONS[mutation](octets, rng)
        yield Packet(octets[:1400], "+".join(chosen))


def _names(long_answers: bool) -> list[dns.name.Name]:
    owners = {name for name, _ in sample.zone().iterate_rdatasets()}
    return sorted(
        name
        for name in owners
        if long_answers or not any(label.startswith(LONG_ANSWERS) for label in name.labels)
    )


def _query(rng: random.Random, names: Sequence[dns.name.Name]) -> bytes:
    name = rng.choice(names)
    if rng.random() < 0.4:
        labels = tuple(rng.randbytes(rng.randint(1, 9)) for _ in range(rng.randint(1, 3)))
        if len(name.to_wire()) + sum(map(len, labels)) + len(labels) <= 255:
            name = dns.name.Name(labels + name.labels)
    kind = dns.rdatatype.from_text(rng.choice(KINDS))
    flags = rng.choice([0, 0x0100, 0x0120, 0x0110, rng.getrandbits(16) & 0x7FFF])
    head = _HEADER.pack(rng.getrandbits(16), flags, 1, 0, 0, 0)
    query = (
        head + (name.to_wire() or b"") + struct.pack(">HH", kind, rng.choice([1] * 9 + [3, 255]))
    )
    return _with_edns(query, rng) if rng.random() < 0.7 else query


def _with_edns(query: bytes, rng: random.Random) -> bytes:
    options = b"".join(_option(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 5])))
    payload = rng.choice([1232, 1232, 512, 4096, 0, 65535])
    ttl = rng.choice([0, 0, 0x8000, rng.getrandbits(32)])
    opt = struct.pack(">BHHIH", 0, 41, payload, ttl, len(options)) + options
    return query[:11] + b"\1" + query[12:] + opt


def _option(rng: random.Random) -> bytes:
    """Cookie, NSID, client subnet, keepalive, padding, key tag, error reporting, unknown ones."""
    subnet = struct.pack(">HBB", rng.choice([1, 2, 0, 3]), rng.choice([24, 32, 0, 56, 129]), 0)
    code, content = rng.choice(
        [
            (10, rng.randbytes(rng.choice([8, 16, 24, 40, 7, 41]))),
            (10, rng.randbytes(8) + b"\1\0\0\0" + rng.randbytes(12)),
            (3, rng.randbytes(rng.choice([0, 0, 5]))),
            (8, b"\0\1\x18\0" + rng.randbytes(3)),
            (8, b"\0\2\x38\0" + rng.randbytes(7)),
            (8, subnet + rng.randbytes(rng.randint(0, 20))),
            (11, rng.randbytes(rng.choice([0, 0, 2]))),
            (12, bytes(rng.randint(0, 60))),
            (rng.getrandbits(16), rng.randbytes(rng.randint(0, 30))),
        ]
    )
    return struct.pack(">HH", code, len(content)) + content


def _flip(octets: bytes, rng: random.Random) -> bytes:
    data = bytearray(octets)
    for _ in range(rng.randint(1, 4)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(octets: bytes, rng: random.Random) -> bytes:
    return octets[: rng.randint(0, len(octets))]


def _insert(octets: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(octets))
    return octets[:at] + rng.randbytes(rng.randint(1, 12)) + octets[at:]


def _remove(octets: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(octets))
    return octets[:at] + octets[at + rng.randint(1, 8) :]


def _repeat(octets: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(octets))
    return octets + octets[at:] * rng.randint(1, 3)


def _counts(octets: bytes, rng: random.Random) -> bytes:
    at = rng.choice([4, 6, 8, 10])
    value = rng.choice([0, 1, 2, 255, 65535, rng.getrandbits(16)])
    return octets[:at] + value.to_bytes(2, "big") + octets[at + 2 :]


def _pointer(octets: bytes, rng: random.Random) -> bytes:
    at = rng.randint(12, max(12, len(octets)))
    target = rng.choice([at, 12, 0, 0x3FFF, rng.randrange(0x4000)])
    return octets[:at] + (0xC000 | target).to_bytes(2, "big") + octets[at + 2 :]


def _long_name(octets: bytes, rng: random.Random) -> bytes:
    size = rng.choice([1, 31, 63, 64, 127, 128, 191, 192])
    return (
        octets[:12]
        + (bytes([size]) + rng.randbytes(size)) * rng.choice([1, 4, 5, 130])
        + (octets[12:] if rng.random() < 0.5 else b"\0\0\1\0\1")
    )


def _second_opt(octets: bytes, rng: random.Random) -> bytes:
    owner = rng.choice([b"\0", b"\1a\0", b"\xc0\x0c"])
    opt = owner + struct.pack(">HHIH", 41, 1232, rng.getrandbits(32), rng.choice([0, 4, 65535]))
    return octets[:10] + rng.choice([b"\0\1", b"\0\2", b"\0\3"]) + octets[12:] + opt


def _opcode(octets: bytes, rng: random.Random) -> bytes:
    return octets[:2] + bytes([rng.getrandbits(8) & 0x7F]) + octets[3:]


MUTATIONS: dict[str, Mutation] = {
    "flip": _flip,
    "cut": _cut,
    "insert": _insert,
    "remove": _remove,
    "repeat": _repeat,
    "counts": _counts,
    "pointer": _pointer,
    "long name": _long_name,
    "second OPT": _second_opt,
    "opcode": _opcode,
}
