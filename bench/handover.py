"""Time until another control plane leads: after a kill, a stop (SIGSTOP) and an orderly end.

    python bench/handover.py [--trials 20]

Two control planes with their own PostgreSQL are asked every 20 ms who leads. Nothing else runs.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests")]

from firsthop.postgres.server import EmbeddedPostgres
from support.replicas import Replicas, replicas
from support.waiting import eventually

CAUSES = {
    "`kill -9`": signal.SIGKILL,
    "SIGSTOP": signal.SIGSTOP,
    "SIGTERM": signal.SIGTERM,
}


async def hand_over(made: Replicas, number: signal.Signals) -> float:
    """Seconds from the signal until the other one leads; then restores both."""
    leader, (other,) = await made.follow_one()
    leader.send(number)
    since = time.monotonic()
    await eventually(lambda: made.leads(other), "the other leads")
    taken = time.monotonic() - since
    if number == signal.SIGSTOP:
        leader.send(signal.SIGCONT)
        await eventually(lambda: _one(made), "the stopped one has heard that it leads no more")
    else:
        assert leader.process is not None
        await asyncio.to_thread(leader.process.wait, 30)
        leader.start()
    return taken


async def _one(made: Replicas) -> bool:
    return len(await made.leaders()) == 1


async def run(folder: Path, trials: int) -> None:
    """Prints a row for each cause."""
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    try:
        async with replicas(folder, server.url) as made:
            print("| the leader gets | trials | p50 s | max s |\n|---|---|---|---|")
            for title, number in CAUSES.items():
                taken = [await hand_over(made, number) for _ in range(trials)]
                middle, highest = statistics.median(taken), max(taken)
                print(f"| {title} | {trials} | {middle:.2f} | {highest:.2f} |", flush=True)
    finally:
        await server.stop()


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        asyncio.run(run(Path(folder), given.trials))


if __name__ == "__main__":
    main()
