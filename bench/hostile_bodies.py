"""How long hostile bodies delay `/healthz` of a control plane, and what memory they take.

    python bench/hostile_bodies.py [--seconds 3]

The control plane is a separate process with its own PostgreSQL. Each kind of body is sent by four
callers at once for `--seconds`, to each route that takes a body, with a token that may call it; at
the same time `/healthz` is asked 100 times a second. Prints the worst delay in ms and the growth of
memory in MiB; exits with 1 if a delay is above 100 ms or memory grew by more than 100 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import psutil

from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.postgres.server import EmbeddedPostgres

MAX_DELAY_MS = 100.0
MAX_GROWTH_MIB = 100.0
CALLERS = 4
SCOPES = {"prober": "a", "agent": "fra-1"}
ROUTES = {
    "/v1/simulate": ("viewer", "document", "regions"),
    "/v1/changesets": ("admin", "document", "regions"),
    "/v1/regions": ("admin", "name", "x"),
    "/v1/probes/results": ("prober", "views", ""),
    "/v1/relays/fra-1/reports": ("agent", "x", ""),
    "/v1/demand": ("edge", "answers", ""),
    "/v1/measurements": ("agent", "samples", ""),
}


def wrapped(first: str, second: str, inner: bytes) -> bytes:
    """A JSON object with a list or object in the field where the route expects one."""
    if second:
        inner = b'{"%s":%s}' % (second.encode(), inner)
    return b'{"%s":%s}' % (first.encode(), inner)


KINDS: dict[str, Callable[[], bytes]] = {
    "100,000 objects": lambda: b"[" + b",".join([b"{}"] * 100_000) + b"]",
    "19,000 objects": lambda: b"[" + b",".join([b"{}"] * 19_000) + b"]",
    "49,000 numbers": lambda: b"[" + b",".join([b"1.5e10"] * 49_000) + b"]",
    "100,000 keys": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
    "depth 10,000": lambda: b"[" * 10_000 + b"]" * 10_000,
    "32 MiB": lambda: b'["' + b"x" * (31 * 2**20) + b'"]',
}


def free_port() -> int:
    """A TCP port that is not in use now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def controlplane(folder: Path, url: str, port: int) -> Iterator[psutil.Process]:
    """A running control plane."""
    environment = os.environ | {
        "FIRSTHOP_DATABASE_URL": url,
        "FIRSTHOP_STATE_DIR": str(folder / "state"),
        "FIRSTHOP_BOOTSTRAP_TOKENS": str(folder / "machine.tokens"),
        "FIRSTHOP_CONTROLPLANE_LISTEN": f"127.0.0.1:{port}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "firsthop", "controlplane"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def healthz(session: aiohttp.ClientSession, url: str) -> float:
    """Milliseconds until `/healthz` is answered."""
    began = time.perf_counter()
    async with session.get(url + "/healthz") as answer:
        await answer.read()
    return (time.perf_counter() - began) * 1000


def send_all(url: str, path: str, token: str, kind: str, seconds: float, pipe: Connection) -> None:
    """The process of the callers: sends the number of answers by status."""
    _, first, second = ROUTES[path]
    body = wrapped(first, second, KINDS[kind]())
    pipe.send("ready")
    pipe.send(asyncio.run(_send_all(url + path, token, body, seconds)))


async def _send_all(url: str, token: str, body: bytes, seconds: float) -> dict[str, int]:
    statuses: Counter[str] = Counter()
    until = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def send(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()
                    statuses[str(answer.status)] += 1
            except aiohttp.ClientError as error:  # closed before the body was read
                statuses[type(error).__name__] += 1
            await asyncio.sleep(0.01)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send(session) for _ in range(CALLERS)))
    return dict(statuses)


async def worst_delay(
    url: str, path: str, token: str, kind: str, seconds: float
) -> tuple[float, dict[str, int]]:
    """The worst delay in ms while callers send the body, and the statuses that they get."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    callers = context.Process(target=send_all, args=(url, path, token, kind, seconds, theirs))
    callers.start()
    await asyncio.to_thread(ours.recv)
    worst = 0.0
    async with aiohttp.ClientSession() as asking:
        while not ours.poll():
            worst = max(worst, await healthz(asking, url))
            await asyncio.sleep(0.01)
    callers.join()
    return worst, ours.recv()


async def run(seconds: float, folder: Path, database_url: str) -> int:
    """Prints a line for each route and kind; 0 if all delays and the memory are within bounds."""
    tokens, port = MachineTokens(folder / "machine.tokens"), free_port()
    # One for each attack: otherwise the budget that one has used up would protect from the next.
    tokens.add(
        (f"{path}-{kind}", role, SCOPES.get(role))
        for path, (role, _, _) in ROUTES.items()
        for kind in KINDS
    )
    url, bad = f"http://127.0.0.1:{port}", 0
    with controlplane(folder, database_url, port) as process:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    await healthz(session, url)
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(3)
            quiet = max([await healthz(session, url) for _ in range(300)])
        before = process.memory_info().rss
        print(f"quiet: {quiet:.1f} ms")
        for path in ROUTES:
            for kind in KINDS:
                token = tokens[f"{path}-{kind}"]
                worst, statuses = await worst_delay(url, path, token, kind, seconds)
                bad += worst > MAX_DELAY_MS
                print(f"{path:26} {kind:16} {worst:7.1f} ms {statuses}", flush=True)
        grown = (process.memory_info().rss - before) / 2**20
        print(f"memory grew by {grown:.0f} MiB; {bad} delays above {MAX_DELAY_MS:g} ms")
    return 1 if bad or grown > MAX_GROWTH_MIB else 0


async def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Delays by hostile bodies.")
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds: float = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="fh-") as name:
        async with EmbeddedPostgres(Path(name) / "database") as server:
            return await run(seconds, Path(name), server.url)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
