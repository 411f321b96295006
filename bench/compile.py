"""Time to compile an answer table: the bundled country data, and a made-up city database.

    python bench/compile.py [--regions 50] [--rounds 5]

The city database has 100,000 places, 3 million IPv4 and a million IPv6 ranges, drawn at random. The
slowest round is the first, which also works out the RTT of every place.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

# This file's folder would make `import dns` find dns.py beside it instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.ecs_cache import CITIES
from bench.peers.firsthop import document

from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.atlas import Atlas
from firsthop_steering.compile import compile_table
from firsthop_steering.decide import Steering
from firsthop_steering.document import load_yaml
from firsthop_steering.snapshot import Plan, Status

PLACES = 100_000
V4_RANGES, V6_RANGES = 3_000_000, 1_000_000
_NOWHERE = 0.05
"""Share of the ranges without a place."""

Ranges = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]


def city_table(path: Path) -> GeoTable:
    """Places spread evenly over the sphere, and ranges of whole /24s and /48s over them."""
    draw = np.random.default_rng(1)
    latitudes = np.degrees(np.arcsin(draw.uniform(-0.9, 0.9, PLACES)))
    longitudes = draw.uniform(-179, 179, PLACES)

    def ranges(count: int, bits: int, free: int) -> Ranges:
        drawn = draw.integers(1, 1 << bits - free, count, dtype=np.uint64) << np.uint64(free)
        starts = np.unique(np.append(drawn, np.uint64(0)))
        cells = draw.integers(0, PLACES, len(starts)).astype(np.uint32)
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


def main() -> None:
    """Prints a line a database."""
    options = argparse.ArgumentParser(description="Time to compile an answer table.")
    options.add_argument("--regions", type=int, default=50, help=f"up to {len(CITIES)}")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    now = datetime.now(UTC)
    plan = Plan(
        number=1,
        lineage="bench",
        created_at=now,
        document=load_yaml(document(CITIES[: chosen.regions])),
    )
    status = Status(number=0, lineage="bench", created_at=now)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        databases = {
            "country": open_geodata(None, None, folder / "bundled"),
            "city": city_table(folder / "city"),
        }
        for kind, geo in databases.items():
            atlas, times, spent = Atlas(plan, geo), [], []
            for _ in range(chosen.rounds):
                started, before = time.perf_counter(), time.process_time()
                compile_table(Steering(atlas, status, now), folder / "table")
                times.append(time.perf_counter() - started)
                spent.append(time.process_time() - before)
            size = (folder / "table").stat().st_size / 1e6
            print(
                f"{kind:8} {len(geo):>7,} cells x {chosen.regions} regions: "
                f"{min(times):.2f} - {max(times):.2f} s, "
                f"CPU {min(spent):.2f} - {max(spent):.2f} s, {size:.1f} MB"
            )


if __name__ == "__main__":
    main()
