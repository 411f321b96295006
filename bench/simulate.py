"""Time to simulate a change for all clients, for country data and a synthetic city database.

    python bench/simulate.py [--regions 50] [--rounds 3]

Every fifth region changes to weight 50, each time with a new plan. The first comparison also
computes the round trips and counts the addresses of every cell, once per geo table.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.compile import city_table
from bench.ecs_cache import CITIES
from bench.peers.firsthop import document

from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import load_yaml
from firsthop_steering.whatif.simulate import simulate


def main() -> None:
    """Prints one line per database."""
    options = argparse.ArgumentParser(description="Time to simulate a change for every client.")
    options.add_argument("--regions", type=int, default=50, help=f"up to {len(CITIES)}")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    now = datetime.now(UTC)
    before = load_yaml(document(CITIES[: chosen.regions]))
    regions = [
        each.model_copy(update={"weight": 100 if index % 5 else 50})
        for index, each in enumerate(before.regions)
    ]
    after = before.model_copy(update={"regions": tuple(regions)})
    present = Plan(number=0, lineage="bench", created_at=now, document=before)
    status = Status(number=0, lineage="bench", created_at=now)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        databases = {
            "country": open_geodata(None, None, folder / "bundled"),
            "city": city_table(folder / "city"),
        }
        for kind, geo in databases.items():
            spent, was = [], None
            for number in range(1, chosen.rounds + 2):
                plan = Plan(number=number, lineage="bench", created_at=now, document=after)
                started = time.process_time()
                was = was or RttMap(Topology(present, geo))
                then = RttMap.following(was, plan, geo, None)
                old, new = (Steering(rtt.topology, status, now, rtt=rtt) for rtt in (was, then))
                result = simulate(old, new, before.services[0].name)
                spent.append(time.process_time() - started)
            print(
                f"{kind:8} {len(geo):>7,} cells x {chosen.regions} regions: CPU first "
                f"{spent[0]:.2f} s, then {min(spent[1:]):.2f} s; {result.moved:.1%} of clients move"
            )


if __name__ == "__main__":
    main()
