"""Cost of a large zone: time to load it, and CPU per query compared with a small zone.

    python bench/zone_size.py [--names 100000] [--queries 50000]

Loading covers everything from the zone file to mapped tables, in one process. Queries are for
random names of the zone, once for the first time and once again; the best round is shown.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, as in bench/respond.py)

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import dns.message

from firsthop.edge.following.file_source import load_plan
from firsthop.edge.supervisor import GC_THRESHOLDS
from firsthop_dns.answer.client_keys import UDP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.table.layout import SECTION
from firsthop_geodata.prefixes import NO_CELL, GeoTable, write_table
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Status

SMALL = 100
HEAD = "$ORIGIN big.test.\n$TTL 300\n@ SOA ns host 1 7200 900 1209600 60\n@ NS ns\nns A 192.0.2.1\n"


def zone_file(names: int) -> str:
    """A zone file in which two in three names have an A record, the others AAAA, TXT or CNAME."""
    lines = []
    for number in range(names):
        data = (
            f"A 192.0.{number >> 8 & 255}.{number & 255}",
            f"AAAA 2001:db8::{number & 65535:x}",
            "A 192.0.2.7",
            f'TXT "number {number}"',
            "A 192.0.2.8",
            f"CNAME {_name(number - 5)}",
        )[number % 6]
        lines.append(f"{_name(number)} {data}\n")
    return HEAD + "".join(lines)


def _name(number: int) -> str:
    return f"host-{number}.g{number % 977}"


def load(folder: Path, names: int) -> tuple[Tables, float, float]:
    """Tables of such a zone, and the seconds to parse the file and to compile it."""
    (folder / "zone").write_text(zone_file(names))
    (folder / "edge.yaml").write_text("zones: [{ file: zone }]\n")
    write_table(folder / "geo", cells=[], v4=([0], [NO_CELL]))
    geo, now = GeoTable.open(folder / "geo"), datetime.now(UTC)
    started = time.perf_counter()
    plan = load_plan(folder / "edge.yaml")
    read = time.perf_counter()
    status = Status(number=1, lineage="bench", created_at=now)
    compile_table(
        Steering(Topology(plan, geo), status, now),
        folder / "table",
        lambda services: {SECTION: encode_zones(plan.document, 1, services)},
    )
    tables = Tables(AnswerTable.open(folder / "table"), Instance.of(DnsCounters(), {}))
    return tables, read - started, time.perf_counter() - read


def microseconds(tables: Tables, packets: list[bytes]) -> float:
    """CPU per query."""
    started = time.process_time()
    for packet in packets:
        respond(packet, ("127.0.0.1", 53), tables, 0.0, UDP4)
    return (time.process_time() - started) / len(packets) * 1e6


def main() -> None:
    """Prints one line per zone."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--names", type=int, default=100_000)
    options.add_argument("--queries", type=int, default=50_000)
    chosen = options.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    for names in (SMALL, chosen.names):
        with tempfile.TemporaryDirectory() as folder:
            tables, reading, compiling = load(Path(folder), names)
            draw = random.Random(1)
            asked = [draw.randrange(names) for _ in range(chosen.queries)]
            packets = [
                dns.message.make_query(f"{_name(each)}.big.test.", "A", use_edns=0).to_wire()
                for each in asked
            ]
            first = microseconds(tables, packets)
            again = min(microseconds(tables, packets) for _ in range(5))
        print(
            f"{names:7,} names: read {reading:5.2f} s, compiled {compiling:5.2f} s;"
            f" a query {first:6.2f} us the first time, {again:6.2f} us again"
        )


if __name__ == "__main__":
    main()
