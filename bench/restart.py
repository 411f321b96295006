"""Silence of a browser's call when its relay is killed by SIGKILL and started again.

    python bench/restart.py [--runs 20] [--modes journal,nothing,redis] [--busy 0]

One Chromium call runs through `firsthop relay` to `firsthop transceiver` and back. Each run kills
the relay and immediately starts another on its address. The gap is the largest step between RTP
timestamps of the received audio. `--busy` adds processes that only use CPU.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from support.allocator_server import BEARER
from support.browsers import page, why_not
from support.calls import RELAY_PORT, relay, world
from support.waiting import eventually

MODES = {
    "journal": "the same state folder",
    "nothing": "no journal, no store",
    "redis": "another relay with the same Redis, no journal",
}
BUDGET_S = {"journal": 0.5, "nothing": 3.0, "redis": 3.0}
"""Budget of the gap in every run."""
SETTLED = 60  # packets of audio between two kills, over a second
WITHIN_MS = 30_000
MAX_S = 600.0
BUSY = "while True: pass"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Silence of a call whose relay is killed.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--busy", type=int, default=0, help="processes that burn CPU")
    return parser.parse_args()


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[str]:
    """Starts a Redis server; yields its URL."""
    socket = folder / "redis.sock"
    server = await asyncio.create_subprocess_exec(
        "redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir",
        str(folder), stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(socket.exists, "Redis is there")
        yield f"unix://{socket}"
    finally:
        server.kill()
        await server.wait()


async def gaps(mode: str, runs: int) -> list[tuple[float, float, float]]:
    """For each run in seconds: the gap by RTP timestamps, the silence by the clock, and the time
    until the new process listens."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-restart-")))
        options: tuple[str, ...] = ()
        if mode == "journal":
            options = "--state-dir", str(folder / "relay")
        elif mode == "redis":
            options = "--flow-store", await stack.enter_async_context(store(folder))
        here, _ = await stack.enter_async_context(world(folder, within=MAX_S))
        life = await stack.enter_async_context(AsyncExitStack())
        between = await life.enter_async_context(relay(folder, here.transceivers, *options))
        tab = await stack.enter_async_context(page(f"{here.allocator.url}/healthz"))
        here.plan([(between.address, RELAY_PORT)])
        await tab.evaluate(
            "([url, headers]) => open_call(url, headers, {audio: true})", [here.url, BEARER]
        )
        await tab.evaluate("heard()")
        await tab.evaluate("watch_gaps()")
        found = []
        for _ in range(runs):
            await tab.evaluate(f"largest_gap({SETTLED}, {WITHIN_MS})")
            await tab.evaluate("window.call.watch.gap = window.call.watch.quiet = 0")
            died = time.monotonic()
            await between.process.kill()
            between = await life.enter_async_context(
                relay(folder, here.transceivers, *options, address=between.address)
            )
            down = time.monotonic() - died
            gap = await tab.evaluate(f"largest_gap({SETTLED}, {WITHIN_MS})")
            found.append((gap, await tab.evaluate("window.call.watch.quiet"), down))
        return found


def report(mode: str, found: list[tuple[float, float, float]]) -> bool:
    """Prints the results of one mode; returns whether every run was within the budget."""
    gap, quiet, down = (sorted(column) for column in zip(*found, strict=True))
    met = max(gap[-1], quiet[-1]) <= BUDGET_S[mode]
    print(f"{mode} ({MODES[mode]}), {len(found)} deaths:")
    for name, column in (
        ("gap by RTP timestamps", gap),
        ("silence by the clock", quiet),
        ("until the new process said that it listens", down),
    ):
        print(f"  {name}: {statistics.median(column):.2f} s at p50, {column[-1]:.2f} s at most")
    print("  gaps: " + " ".join(f"{each:.2f}" for each in gap))
    print(f"  budget {BUDGET_S[mode]:g} s {'met' if met else 'MISSED'}", flush=True)
    return met


async def main() -> int:
    """Runs the benchmark; 0 if every budget was met."""
    chosen = arguments()
    if reason := why_not():
        print(f"skipped: {reason}")
        return 0
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {chosen.busy} busy processes")
    burning = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY) for _ in range(chosen.busy)
    ]
    met = True
    try:
        for mode in chosen.modes.split(","):
            if mode == "redis" and shutil.which("redis-server") is None:
                print("skipped redis: no redis-server")
                continue
            met &= report(mode, await gaps(mode, chosen.runs))
    finally:
        for each in burning:
            each.kill()
            await each.wait()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
