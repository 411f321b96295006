"""Compares answer table, decision and explanation in many random worlds: all must agree.

    python bench/equality.py [--cases 100000] [--seed 0]

A world is drawn by `tests/support/worlds.py`: geo table, plan with weights, biases and overrides,
status, prices with rows for losses, learned countries and prefixes. A case is one client of it
and one address family: its answers by table, by `decide` and by `explain` are compared. Exits with
status 1 at the first difference.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(ROOT / "tests")

from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.whatif.explain import explain
from support.worlds import folder, key_of, random_asker, random_geo, random_steering

CLIENTS = 50
"""Cases per world."""


def main() -> None:
    """Prints the number of cases, and of each kind."""
    options = argparse.ArgumentParser(description="Table, decision and explanation compared.")
    options.add_argument("--cases", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    started, kinds = time.process_time(), Counter[str]()
    for world in range(-(-chosen.cases // CLIENTS)):
        _world(chosen.seed * 1_000_000 + world, kinds)
    print(f"{kinds['cases']:,} cases in {time.process_time() - started:.0f} s of CPU; of these")
    for kind, count in sorted(kinds.items()):
        print(f"  {kind:32} {count:>8,}")


def _world(seed: int, kinds: Counter[str]) -> None:
    rng = random.Random(seed)
    steering = random_steering(rng, random_geo(rng, rng.choice([1, 3, 20])))
    service = steering.topology.services["s"]
    path = folder() / "equality.table"
    compile_table(steering, path)
    table = AnswerTable.open(path).services[0]
    for number in range(CLIENTS):
        address, family = random_asker(rng, steering), FAMILIES[number % 2]
        steered = steering.of(service, family)
        decision = steered.decide(service, steering.topology.client(address))
        asked = table.aaaa if family == "ipv6" else table
        answer = asked.answers[asked.settle(*key_of(address))]
        explained = explain(steering, service, address, family)
        by_table = (answer.region or None, answer.outcome, answer.relays, answer.ttl)
        answered = explained["answer"]
        by_explain = (
            explained["region"],
            explained["outcome"],
            tuple(answered["endpoints"]),
            answered["ttl"],
        )
        region = decision.site.id if decision.site else None
        if by_table != by_explain or by_table[0] != region:
            sys.exit(f"seed {seed}, client {address}: {by_table} by table, {by_explain} by explain")
        kinds["cases"] += 1
        kinds["families steered separately"] += steered is not steering
        kinds[f"outcome {answer.outcome}"] += 1
        kinds["override"] += decision.ranking.rule is not None
        kinds["kept by weight"] += bool(decision.chosen)
        if decision.preferences:
            kinds[f"RTT by {decision.preferences[0].rtt_source}"] += 1
        ties = decision.ranking.ties
        priced = any(each.price_us for each in decision.preferences)
        kinds["priced"] += priced
        kinds["order depends on the charge"] += bool(priced and ties)
        sites, up = steering.topology.pools["relays"], steering.candidates_up(service, "relays").up
        lost = {site.id for site, endpoints in zip(sites, up, strict=True) if not endpoints}
        kinds["prices of a loss"] += bool(steering.prices and lost & steering.prices.without.keys())


if __name__ == "__main__":
    main()
