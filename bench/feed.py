"""A control plane with a thousand edges: memory, CPU, and the time until all have a verdict.

    python bench/feed.py [--edges 1000] [--relays 1000] [--turns 60]

The control plane is a separate process with its own PostgreSQL. The edges are real connections of
the snapshot stream, read by another process that only extracts the status number of each line;
`--whole` requests whole statuses instead of deltas.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.postgres.server import EmbeddedPostgres

NUMBER = re.compile(rb'\\"number\\":(\d+)')
"""The number of a status or delta, which precedes the relays."""
IDLE_S = 20.0


def document(relays: int) -> dict[str, Any]:
    """One region for every ten relays."""
    return {
        "regions": [
            {"id": f"r{n}", "latitude": 50, "longitude": n % 180} for n in range(-(-relays // 10))
        ],
        "relays": [
            {
                "id": f"relay-{n}",
                "region": f"r{n // 10}",
                "ipv4": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
                "probe": {"fall": 1},
            }
            for n in range(relays)
        ],
    }


def read_streams(port: int, token: str, edges: int, whole: bool, pipe: Connection) -> None:
    """The process of all edges: reports when the last edge has received each number."""
    asyncio.run(_read_streams(port, token, edges, whole, pipe))


async def _read_streams(port: int, token: str, edges: int, whole: bool, pipe: Connection) -> None:
    # Otherwise garbage collection would count as the feed's delay.
    gc.disable()
    heard: dict[int, list[float]] = {}
    octets: dict[int, int] = {}
    query = "" if whole else "?deltas=true"
    head = (
        f"GET /v1/snapshots/stream{query} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
    )
    request = "\r\n".join((*head, "", "")).encode()

    async def read() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
        writer.write(request)
        while line := await reader.readline():
            if b'"kind":"status"' in line or b'"kind":"delta"' in line:
                number = int(NUMBER.findall(line[:1000])[0])
                heard.setdefault(number, []).append(time.monotonic())
                octets[number] = len(line)

    tasks = []
    for n in range(edges):
        tasks.append(asyncio.create_task(read()))
        if n % 50 == 49:
            await asyncio.sleep(0.05)
    while True:
        number, wanted = await asyncio.to_thread(pipe.recv)
        newest = [n for n in heard if n > number]
        complete = [n for n in newest if len(heard[n]) >= wanted]
        found = min(complete) if complete else None
        pipe.send(None if found is None else (found, sorted(heard[found]), octets[found]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "controlplane.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "firsthop", "controlplane"],
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        )


class Bench:
    """One control plane, its edges, and one prober."""

    def __init__(self, port: int, session: aiohttp.ClientSession, tokens: MachineTokens) -> None:
        self._url, self._session, self._tokens = f"http://127.0.0.1:{port}", session, tokens

    async def call(self, method: str, path: str, body: Any = None, role: str = "admin") -> Any:
        headers = {"Authorization": f"Bearer {self._tokens[role]}"}
        async with self._session.request(
            method, self._url + path, json=body, headers=headers
        ) as response:
            text = await response.read()
            assert response.status < 300, text[:500]
            return json.loads(text) if text else None

    async def ready(self) -> bool:
        try:
            await self.call("GET", "/readyz")
        except (aiohttp.ClientError, AssertionError):
            return False
        return True

    async def report(self, relays: int, down: set[int]) -> None:
        now = datetime.now(UTC).isoformat()
        views = [
            {
                "relay": f"relay-{n}",
                "verdict": "down" if n in down else "up",
                "since": now,
                "checked_at": now,
            }
            for n in range(relays)
        ]
        body = {"prober": "a", "vantage": "a", "sent_at": now, "views": views}
        await self.call("POST", "/v1/probes/results", body, "prober")


def ask(pipe: Connection, number: int, wanted: int) -> Any:
    """Waits until all edges have a number newer than `number`; returns it, times and octets."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pipe.send((number, wanted))
        if (message := pipe.recv()) is not None:
            return message
        time.sleep(0.02)
    raise SystemExit("the edges did not hear of it in 60 s")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


async def run(options: argparse.Namespace, folder: Path, database_url: str) -> None:
    port = free_port()
    tokens = MachineTokens(folder / "machine.tokens")
    tokens.add([("admin", "admin", None), ("edge", "edge", None), ("prober", "prober", "a")])
    environment = {
        "FIRSTHOP_DATABASE_URL": database_url,
        "FIRSTHOP_STATE_DIR": str(folder / "state"),
        "FIRSTHOP_BOOTSTRAP_TOKENS": str(folder / "machine.tokens"),
        "FIRSTHOP_CONTROLPLANE_LISTEN": f"127.0.0.1:{port}",
    }
    process = start(folder, environment)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    readers = context.Process(
        target=read_streams,
        args=(port, tokens["edge"], options.edges, options.whole, theirs),
        daemon=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            bench = Bench(port, session, tokens)
            while not await bench.ready():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            await bench.call("POST", "/v1/changesets", {"document": document(options.relays)})
            await bench.report(options.relays, set())
            controlplane = psutil.Process(process.pid)
            before_mib = controlplane.memory_info().rss / 2**20
            readers.start()
            await asyncio.to_thread(ask, ours, 0, options.edges)
            await measure(options, bench, controlplane, before_mib, ours)
    finally:
        readers.kill()
        process.terminate()
        process.wait(20)


async def measure(
    options: argparse.Namespace,
    bench: Bench,
    controlplane: psutil.Process,
    before_mib: float,
    pipe: Connection,
) -> None:
    whole = len(json.dumps(await bench.call("GET", "/v1/status")))
    started, cpu = time.monotonic(), sum(controlplane.cpu_times()[:2])
    await asyncio.sleep(IDLE_S)
    idle = (sum(controlplane.cpu_times()[:2]) - cpu) / (time.monotonic() - started)
    last, all_edges, octets, cost = [], [], [], []
    for turn in range(options.turns):
        number = (await bench.call("GET", "/v1/status"))["number"]
        at, cpu = time.monotonic(), sum(controlplane.cpu_times()[:2])
        # Another relay each time, as damping delays one that changes often.
        await bench.report(options.relays, {turn % options.relays})
        _, times, size = await asyncio.to_thread(ask, pipe, number, options.edges)
        last.append(1000 * (times[-1] - at))
        all_edges += [1000 * (each - at) for each in times]
        octets.append(size)
        cost.append(sum(controlplane.cpu_times()[:2]) - cpu)
        await asyncio.sleep(options.pause)
    mib = controlplane.memory_info().rss / 2**20
    kind = "whole statuses" if options.whole else "deltas"
    print(f"{options.edges} edges, {options.relays} relays, {options.turns} turns, {kind}")
    print(f"memory: {before_mib:.0f} MiB without edges, {mib:.0f} MiB with them")
    print(f"CPU while nothing changes: {1000 * idle:.0f} ms a second")
    print(f"CPU of a turn: {1000 * statistics.median(cost):.0f} ms (median)")
    print(f"octets of a turn to an edge: {statistics.median(octets):.0f} (median),")
    print(f"    of the status as JSON: {whole}")
    for name, values in (("an edge", all_edges), ("the last edge", last)):
        p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
        print(f"ms from the report to {name}: p50 {p50:.0f}, p99 {p99:.0f}, max {max(values):.0f}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=1000)
    parser.add_argument("--relays", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--pause", type=float, default=2.0, help="Seconds between two turns.")
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    folder.chmod(0o755)  # noqa: ASYNC240
    try:
        async with EmbeddedPostgres(folder) as server:
            await run(options, folder, server.url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
