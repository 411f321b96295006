"""CPU of the control plane's work on samples: intake, saving, loading, learning, publishing.

    python bench/samples.py [--samples 100000] [--prefixes 20000] [--regions 24]

Runs in one process, without HTTP and database. Also shows how long each step blocks other threads,
such as an event loop.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from firsthop_controlplane.access.tokens import Principal
from firsthop_controlplane.api.measurements import samples_of
from firsthop_controlplane.bodies.json_text import parse_object
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.publication import Publication
from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.measurements import MAX_SAMPLES, SampleBatch
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan
from firsthop_steering.plan.document import Document

T = TypeVar("T")
SENDER = Principal("operator", "operator", "operator", None, None)


def timed(what: str, work: Callable[[], T]) -> T:
    """Prints CPU time, and the worst delay of another thread, as seen by an event loop."""
    late, stop = [0.0], threading.Event()

    def beat() -> None:
        before = time.perf_counter()
        while not stop.wait(0.001):
            now = time.perf_counter()
            late[0], before = max(late[0], now - before - 0.001), now

    beating = threading.Thread(target=beat)
    beating.start()
    cpu = time.process_time()
    try:
        found = work()
    finally:
        stop.set()
        beating.join()
    spent = time.process_time() - cpu
    print(f"{what:44} {spent:7.2f} s CPU, another thread {late[0] * 1000:6.1f} ms late at worst")
    return found


def main() -> None:
    """Prints one line per step."""
    options = argparse.ArgumentParser(description="Samples, from JSON to a snapshot.")
    options.add_argument("--samples", type=int, default=100_000)
    options.add_argument("--prefixes", type=int, default=20_000)
    options.add_argument("--regions", type=int, default=24)
    chosen = options.parse_args()
    draw, now = np.random.default_rng(1), datetime.now(UTC)
    places = draw.uniform((-40, -120), (60, 140), (chosen.regions, 2))
    regions = [
        {"id": f"r{n}", "latitude": float(latitude), "longitude": float(longitude)}
        for n, (latitude, longitude) in enumerate(places)
    ]
    relays = [
        {"id": f"relay-{n}", "region": f"r{n}", "ipv4": str(IPv4Address(0x7F000001 + n))}
        for n in range(chosen.regions)
    ]
    document = Document.model_validate({"regions": regions, "relays": relays})
    plan = Plan(number=1, lineage="bench", created_at=now, document=document)
    key = CredentialKey(id=1, route="00" * 32, password="00" * 32, created_at=now)
    keys = KeySet(number=1, lineage="bench", created_at=now, signing=1, keys=(key,))
    clients = draw.integers(0x01000000, 0xDF000000, chosen.prefixes)
    rows = zip(
        draw.choice(clients, chosen.samples).tolist(),
        draw.integers(0, chosen.regions, chosen.samples).tolist(),
        draw.lognormal(3.5, 0.6, chosen.samples).tolist(),
        strict=True,
    )
    samples = [
        {"client": str(IPv4Address(client)), "relay": f"relay-{relay}", "rtt_ms": min(rtt, 2999.0),
         "at": now.isoformat()}
        for client, relay, rtt in rows
    ]  # fmt: skip
    bodies = [
        json.dumps({"batch": f"batch-{at:08}", "samples": samples[at : at + MAX_SAMPLES]}).encode()
        for at in range(0, len(samples), MAX_SAMPLES)
    ]
    memory = Memory()
    slowest = 0.0

    def take() -> None:
        nonlocal slowest
        for number, body in enumerate(bodies):
            began = time.perf_counter()
            batch = validated(SampleBatch, parse_object(body))
            taken, _ = samples_of(batch, SENDER, plan, keys, memory, now)
            memory.intake.take(str(number), taken, now.timestamp())
            slowest = max(slowest, time.perf_counter() - began)

    timed(f"{chosen.samples} samples taken in, by {MAX_SAMPLES}", take)
    print(f"{'':44} a batch blocks the loop for {slowest * 1000:.0f} ms at worst")
    at = now.timestamp()
    drained = memory.intake.drain(at)
    timed("into the ledger", lambda: memory.observe(drained, now=at, kept_s=BATCHES_KEPT_S))
    content, size = timed("packed to be saved", memory.changes)
    print(f"{'':44} {size} rows in {len(content) / 1e6:.1f} MB")
    timed("read again", lambda: Memory().restore([content]))
    with tempfile.TemporaryDirectory() as folder:
        geo = open_geodata(None, None, Path(folder))
        ground = Ground.of(plan, geo)
        learned = timed("learned from", lambda: memory.learn(ground))
        publication = Publication()
        timed("first published", lambda: publication.round(learned, ground))
        timed("published again", lambda: publication.round(learned, ground))
        rows_of_it = timed("as a snapshot has it", publication.rows)
        print(f"{'':44} {len(rows_of_it)} prefixes")


if __name__ == "__main__":
    main()
