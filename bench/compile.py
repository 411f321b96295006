"""Time to compile an answer table, for the bundled country data and a synthetic city database.

    python bench/compile.py [--regions 50] [--rounds 5] [--prefixes 0] [--priced 0]

The city database has 100,000 cells, 3 million IPv4 and a million IPv6 ranges, drawn at random. The
first round is the slowest, as it also computes the RTT of every cell; each round has a new plan
with the same sites. `--prefixes` is the number of learned prefixes, three in four IPv4, with the
round trips of a random cell plus some milliseconds; `--priced` regions have prices of 1 to 20 ms.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from ipaddress import IPv6Network
from pathlib import Path

import numpy as np
import numpy.typing as npt

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.ecs_cache import CITIES
from bench.peers.firsthop import document

from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status
from firsthop_steering.plan.document import load_yaml
from firsthop_steering.rtt.geography import distances_km, prior_us, unit_vectors

CELLS = 100_000
V4_RANGES, V6_RANGES = 3_000_000, 1_000_000
_NOWHERE = 0.05
"""Share of the ranges without a location."""

Ranges = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]


def city_table(path: Path) -> GeoTable:
    """A geo table with cells spread evenly over the sphere, and ranges of whole /24s and /48s."""
    draw = np.random.default_rng(1)
    latitudes = np.degrees(np.arcsin(draw.uniform(-0.9, 0.9, CELLS)))
    longitudes = draw.uniform(-179, 179, CELLS)

    def ranges(count: int, bits: int, free: int) -> Ranges:
        drawn = draw.integers(1, 1 << bits - free, count, dtype=np.uint64) << np.uint64(free)
        starts = np.unique(np.append(drawn, np.uint64(0)))
        cells = draw.integers(0, CELLS, len(starts)).astype(np.uint32)
        cells[draw.random(len(starts)) < _NOWHERE] = NO_CELL
        return starts, cells

    write_table(
        path,
        cells=[
            Cell(float(latitude), float(longitude), "XX", "EU")
            for latitude, longitude in zip(latitudes, longitudes, strict=True)
        ],
        v4=ranges(V4_RANGES, 32, 8),
        v6=ranges(V6_RANGES, 64, 16),
    )
    return GeoTable.open(path)


def learned(plan: Plan, count: int) -> Latency:
    """Rows for `count` random prefixes: RTT by distance from a random location plus up to 5 ms."""
    draw = np.random.default_rng(2)
    regions = plan.document.regions
    latitudes = np.degrees(np.arcsin(draw.uniform(-0.9, 0.9, count)))
    points = unit_vectors(latitudes, draw.uniform(-179, 179, count))
    sites = unit_vectors([r.latitude for r in regions], [r.longitude for r in regions])
    expected = prior_us(distances_km(points, sites)) / 1000
    tenths = np.rint((expected + draw.uniform(0, 5, expected.shape)) * 10).astype(int)
    four = draw.integers(1 << 16, 200 << 16, count)
    six = draw.integers(0x2001 << 32, 0x3000 << 32, count)
    names = [
        f"{n >> 16}.{n >> 8 & 255}.{n & 255}.0/24" if index % 4 else str(IPv6Network((m << 80, 48)))
        for index, (n, m) in enumerate(zip(four.tolist(), six.tolist(), strict=True))
    ]
    return Latency(
        number=1,
        lineage="bench",
        created_at=plan.created_at,
        regions=tuple(region.id for region in regions),
        base_ms=(4.0,) * len(regions),
        prefixes=dict(zip(names, map(tuple, tenths.tolist()), strict=True)),
    )


def charged(plan: Plan, count: int) -> Prices:
    """Prices of 1 to 20 ms for evenly chosen regions."""
    regions = [region.id for region in plan.document.regions]
    draw = np.random.default_rng(3)
    now = {id_: float(draw.uniform(1, 20)) for id_ in regions[:: len(regions) // count][:count]}
    return Prices(number=1, lineage="bench", created_at=plan.created_at, now=now)


def main() -> None:
    """Prints one line per database."""
    options = argparse.ArgumentParser(description="Time to compile an answer table.")
    options.add_argument("--regions", type=int, default=50, help=f"up to {len(CITIES)}")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--prefixes", type=int, default=0, help="learned ones")
    options.add_argument("--priced", type=int, default=0, help="regions that have a price")
    chosen = options.parse_args()
    now = datetime.now(UTC)
    plan = Plan(
        number=1,
        lineage="bench",
        created_at=now,
        document=load_yaml(document(CITIES[: chosen.regions])),
    )
    status = Status(number=0, lineage="bench", created_at=now)
    latency = learned(plan, chosen.prefixes) if chosen.prefixes else None
    prices = charged(plan, chosen.priced) if chosen.priced else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        databases = {
            "country": open_geodata(None, None, folder / "bundled"),
            "city": city_table(folder / "city"),
        }
        for kind, geo in databases.items():
            times, spent = [], []
            before = time.process_time()
            rtt = RttMap(Topology(plan, geo), latency)
            mapped = time.process_time() - before
            for number in range(chosen.rounds):
                newest = plan.model_copy(update={"number": number})
                started, before = time.perf_counter(), time.process_time()
                rtt = RttMap.following(rtt, newest, geo, latency)
                steering = Steering(rtt.topology, status, now, rtt=rtt, prices=prices)
                compile_table(steering, folder / "table")
                times.append(time.perf_counter() - started)
                spent.append(time.process_time() - before)
            size = (folder / "table").stat().st_size / 1e6
            print(
                f"{kind:8} {len(geo):>7,} cells x {chosen.regions} regions: "
                f"{min(times):.2f} - {max(times):.2f} s, "
                f"CPU {min(spent):.2f} - {max(spent):.2f} s, {size:.1f} MB; "
                f"RTT map CPU {mapped:.2f} s"
            )


if __name__ == "__main__":
    main()
