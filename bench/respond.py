"""CPU of one DNS answer without sockets: fast lane, slow lane and their parts, in microseconds.

    python bench/respond.py [--queries 50000] [--rounds 5]

Uses a random map of a country database's size, 8 regions and distinct ECS /24s. Shows the best
round, as slower ones include noise of other processes.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.peers.case import SERVICE
from bench.peers.firsthop import document

from firsthop_dns.answer.client_keys import UDP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond, respond_strictly
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.table.layout import SECTION
from firsthop_dns.wire.query import parse
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import load_yaml
from firsthop_zones.names import to_wire

RANGES = 180_000
"""Number of IPv4 ranges of a country database."""


def tables(folder: Path) -> Tables:
    """The case of bench/dns.py with a random map, independent of downloads."""
    plan = Plan(
        number=1, lineage="bench", created_at=datetime.now(UTC), document=load_yaml(document())
    )
    draw = random.Random(1)
    regions = plan.document.regions
    starts = sorted({0, *(draw.randrange(1 << 24) << 8 for _ in range(RANGES))})
    cells = [draw.choice([*range(len(regions)), NO_CELL]) for _ in starts]
    write_table(
        folder / "geo",
        cells=[Cell(each.latitude, each.longitude, "XX", "EU") for each in regions],
        v4=(starts, cells),
    )
    status = Status(number=1, lineage="bench", created_at=plan.created_at)
    steering = Steering(Topology(plan, GeoTable.open(folder / "geo")), status, plan.created_at)
    compile_table(
        steering,
        folder / "table",
        lambda services: {SECTION: encode_zones(plan.document, plan.number, services)},
    )
    return Tables(AnswerTable.open(folder / "table"), Instance.of(DnsCounters(), {}))


def queries(count: int, tail: Callable[[bytes], bytes]) -> list[bytes]:
    """Queries for the service, each with another /24."""
    question = to_wire(SERVICE) + bytes([0, 1, 0, 1])
    prefixes = random.Random(2).sample(range(1 << 24), count)
    return [
        struct.pack(">6H", number & 0xFFFF, 0x0100, 1, 0, 0, 1)
        + question
        + tail(prefix.to_bytes(3, "big"))
        for number, prefix in enumerate(prefixes)
    ]


def _opt(options: bytes) -> bytes:
    return struct.pack(">BHHIH", 0, 41, 1232, 0, len(options)) + options


def ecs(prefix: bytes) -> bytes:
    """An OPT record with a /24, as public resolvers send it."""
    return _opt(struct.pack(">HHHBB", 8, 7, 1, 24, 0) + prefix)


def ecs_and_cookie(prefix: bytes) -> bytes:
    """The same preceded by a cookie, as dig sends it."""
    return _opt(
        struct.pack(">HH", 10, 8) + bytes(8) + struct.pack(">HHHBB", 8, 7, 1, 24, 0) + prefix
    )


def best_us(rounds: int, packets: Sequence[bytes], act: Callable[[bytes], object]) -> float:
    """CPU microseconds per call in the best round."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for packet in packets:
            act(packet)
        best = min(best, time.process_time() - started)
    return best / len(packets) * 1e6


def main() -> None:
    """Prints one line per part."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--queries", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = tables(Path(folder))
    peer = ("127.0.0.1", 5353)
    lookup = made.services[0].table.lookup
    fast = queries(chosen.queries, ecs)
    slow = queries(chosen.queries, ecs_and_cookie)
    plain = queries(chosen.queries, lambda _: _opt(b""))
    cases: list[tuple[str, list[bytes], Callable[[bytes], object]]] = [
        ("(an empty call)", fast, lambda packet: packet),
        ("table look-up alone", fast, lambda p: lookup(4, int.from_bytes(p[-3:], "big") << 8)),
        ("parse, ECS", fast, parse),
        ("respond, ECS (fast lane)", fast, lambda p: respond(p, peer, made, 0.0, UDP4)),
        (
            "the same on the slow lane",
            fast,
            lambda p: respond_strictly(p, peer, made, 0.0, UDP4),
        ),
        ("respond, ECS and cookie", slow, lambda p: respond(p, peer, made, 0.0, UDP4)),
        ("respond, EDNS without ECS", plain, lambda p: respond(p, peer, made, 0.0, UDP4)),
    ]
    for name, packets, act in cases:
        print(f"{name:28} {best_us(chosen.rounds, packets, act):6.2f} us")


if __name__ == "__main__":
    main()
