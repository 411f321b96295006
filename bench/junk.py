"""Memory of a relay's flow table after ten million invalid packets.

    python bench/junk.py [--packets 10000000]

Sends random packets, truncated and forged checks and expired credentials, each from another source,
beside one call. Exits with 1 if any of them was not dropped, if memory grew by more than 5 MiB, or
if the call was interrupted.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import psutil

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from firsthop_relay.flows.drops import Drop
from support.relay_world import RTP, Relay, check, credential

WARM_UP = 100_000
MAX_GROWTH = 5 * 2**20


def main() -> int:
    """Runs the benchmark; 0 if no state was left."""
    parser = argparse.ArgumentParser(description="Memory of a flow table under junk.")
    parser.add_argument("--packets", type=int, default=10_000_000)
    packets: int = parser.parse_args().packets
    relay, chance, process = Relay(), random.Random(1), psutil.Process()
    flow = relay.connect(credential().ufrag)
    whole = check(credential().ufrag)
    bad = [check(credential(lifetime=-60).ufrag), check("x" * 31), whole[:-3], whole[:-1] + b"?"]
    before, began = 0, time.monotonic()
    for number in range(packets):
        if number == min(WARM_UP, packets - 1):
            before = process.memory_info().rss
        kind = number % 8
        packet = chance.randbytes(60)
        if kind == 5:
            packet = whole[:20] + packet
        elif kind > 5:
            packet = bad[number // 8 % len(bad)]
        source = f"{number & 255}.{number >> 8 & 255}.{number >> 16 & 255}.9", number & 65535
        outcome = relay.receive(packet, source)
        if not isinstance(outcome, Drop):
            print(f"packet {number}: {outcome}")
            return 1
    grown = process.memory_info().rss - before
    took = time.monotonic() - began
    print(f"{packets:,} packets in {took:.0f} s, memory grew by {grown / 2**20:.2f} MiB")
    lives = relay.receive(RTP) is flow and relay.listener.flows == {flow.source: [flow]}
    return 0 if lives and grown <= MAX_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
