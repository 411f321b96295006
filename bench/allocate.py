"""Benchmark of allocations: the pure function, and HTTP compared with a bare aiohttp JSON handler.

    .venv/bin/python bench/allocate.py [--seconds 2] [--rounds 5]

Servers run in processes of their own; rounds alternate between them. The figure is requests per
second of *server CPU*, which depends far less on other load than requests per second of time.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from multiprocessing import Process
from pathlib import Path

import psutil

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from aiohttp import web

from firsthop_allocator.allocations.allocation import ENTROPY_LENGTH, AllocationRequest, allocate
from firsthop_allocator.allocations.state import AllocatorState, Holder
from firsthop_allocator.settings import AllocatorSettings
from firsthop_allocator.worker import serve
from firsthop_geodata.prefixes import Cell, GeoTable, write_table
from firsthop_ice.ufrag import CredentialKeys
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan, Status
from firsthop_steering.plan.document import Document, checked

CLIENTS = 50_000
"""Distinct addresses, as in the DNS benchmark."""
CELLS = 250
"""Number of locations, as in country data."""
CONNECTIONS = 32
TOKEN = "bench"
CITIES = {
    "fra": (50.11, 8.68), "iad": (38.95, -77.45), "sjc": (37.34, -121.89), "gru": (-23.55, -46.63),
    "jnb": (-26.2, 28.05), "bom": (19.08, 72.88), "nrt": (35.68, 139.69), "syd": (-33.87, 151.21),
}  # fmt: skip


def build_view(weight: int) -> AllocatorState:
    """Eight regions of three relays and two transceiver regions over a country-sized table."""
    chance = random.Random(1)
    now = datetime.now(UTC)
    plan = Plan(number=1, lineage="bench", created_at=now, document=_document(weight))
    status = Status(number=1, lineage="bench", created_at=now)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "geo.table"
        cells = [
            Cell(chance.uniform(-55, 70), chance.uniform(-180, 180), "XX", "EU")
            for _ in range(CELLS)
        ]
        starts = sorted({0, *chance.sample(range(1 << 32), 100_000)})
        write_table(path, cells=cells, v4=(starts, [chance.randrange(CELLS) for _ in starts]))
        topology = Topology(plan, GeoTable.open(path))
    return AllocatorState(Steering(topology, status, now), _keys(now))


def _document(weight: int) -> Document:
    ends = [("eu", 50.0, 8.0), ("us", 39.0, -77.0)]
    raw = {
        "regions": [
            {"id": name, "latitude": at[0], "longitude": at[1], "weight": weight}
            for name, at in CITIES.items()
        ],
        "relays": [
            {
                "id": f"{name}-{n}", "region": name, "ipv4": f"192.0.2.{place * 4 + n}",
                "ipv6": f"2001:db8::{place * 4 + n:x}", "tcp_port": 443,
            }
            for place, name in enumerate(CITIES) for n in (1, 2, 3)
        ],
        "transceiver_regions": [
            {"id": name, "wire_id": n, "latitude": latitude, "longitude": longitude}
            for n, (name, latitude, longitude) in enumerate(ends, start=1)
        ],
        "transceivers": [
            {"id": f"{name}-1", "region": name, "host": f"10.0.0.{n}", "port": 4000}
            for n, (name, _, _) in enumerate(ends, start=1)
        ],
        "zones": [
            {"apex": "edge.example.", "primary": "ns1.edge.example.",
             "contact": "ops.edge.example.", "name_servers": ["ns1.edge.example."]}
        ],
        "services": [{"id": "relay", "name": "relay.edge.example."}],
    }  # fmt: skip
    return checked(Document.model_validate(raw))


def _keys(now: datetime) -> CredentialKeys:
    key = CredentialKey(id=1, route="ab" * 32, password="cd" * 32, created_at=now)
    return CredentialKeys.from_keyset(
        KeySet(number=1, lineage="bench", created_at=now, signing=1, keys=(key,))
    )


def _address(chance: random.Random) -> IPv4Address:
    return IPv4Address(chance.randrange(1 << 24, 0xE0 << 24))


def pure_us(weight: int, rounds: int) -> dict[str, float]:
    """CPU microseconds of allocate() and to_json(): first call per client, and later calls."""
    state = build_view(weight)
    chance = random.Random(2)
    now = datetime.now(UTC)
    requests = [
        AllocationRequest(address=_address(chance), source="client_ip") for _ in range(CLIENTS)
    ]
    figures: dict[str, list[float]] = {"cold": [], "allocate": [], "allocate + to_json": []}
    for lap in range(rounds + 1):
        started = time.process_time()
        for request in requests:
            allocate(state, request, now=now, entropy=os.urandom(ENTROPY_LENGTH))
        figures["allocate" if lap else "cold"].append(time.process_time() - started)
        started = time.process_time()
        for request in requests:
            made = allocate(state, request, now=now, entropy=os.urandom(ENTROPY_LENGTH))
            made.to_json()  # type: ignore[union-attr]
        if lap:
            figures["allocate + to_json"].append(time.process_time() - started)
    return {name: min(laps) / CLIENTS * 1e6 for name, laps in figures.items()}


async def _bare_handler(request: web.Request) -> web.Response:
    body = await request.json()
    return web.json_response({"client_ip": body["client_ip"], "ttl": body.get("ttl", 3600)})


async def _serve_bare(listen: socket.socket) -> None:
    app = web.Application()
    app.router.add_post("/v1/allocations", _bare_handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listen).start()
    await asyncio.Event().wait()


async def _serve_allocator(listen: socket.socket) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    settings = AllocatorSettings(token_digests=frozenset([digest]))
    await serve(settings, Holder(build_view(100)), listen, stop=asyncio.Event())


Server = Callable[[socket.socket], Awaitable[None]]


class Running:
    """One server process and its CPU time."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.rates: list[float] = []
        listen = socket.create_server(("127.0.0.1", 0))
        self.port: int = listen.getsockname()[1]
        self.process = Process(target=_run, args=(server, listen), daemon=True)
        self.process.start()
        listen.close()
        assert self.process.pid is not None
        self._usage = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        times = self._usage.cpu_times()
        return times.user + times.system


def _run(server: Server, listen: socket.socket) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    async def main() -> None:
        await server(listen)

    asyncio.run(main())


class _Asker(asyncio.Protocol):
    """One connection: the next request is sent once the answer is complete."""

    def __init__(self, requests: list[bytes], status: bytes, until: float) -> None:
        self._requests = requests
        self._status = status
        self._until = until
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()
        self.sent_at = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self.sent_at = time.perf_counter()
        self._transport.write(self._requests[len(self.latencies) % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        at = self._buffer.find(b"Content-Length: ")
        if head < 0 or at < 0:
            return
        length = int(self._buffer[at + 16 : self._buffer.index(b"\r", at)])
        if len(self._buffer) < head + 4 + length:
            return
        if not self._buffer.startswith(self._status):
            self.done.set_exception(RuntimeError(self._buffer.decode()))
            return
        self._buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self.sent_at)
        if now < self._until:
            self._ask()
        elif not self.done.done():
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server hung up"))


async def load(port: int, status: bytes, seconds: float) -> list[float]:
    """Latencies of all answers within the time, in seconds, ascending."""
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    chance = random.Random(3)
    askers = []
    for _ in range(CONNECTIONS):
        requests = [_request(chance) for _ in range(CLIENTS // CONNECTIONS)]
        asker = _Asker(requests, status, until)
        await loop.create_connection(lambda asker=asker: asker, "127.0.0.1", port)  # type: ignore[misc]
        askers.append(asker)
    await asyncio.gather(*(asker.done for asker in askers))
    return sorted(latency for asker in askers for latency in asker.latencies)


def _request(chance: random.Random) -> bytes:
    body = json.dumps({"client_ip": str(_address(chance))}).encode()
    return (
        b"POST /v1/allocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
    ) % (TOKEN.encode(), len(body), body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for weight in (100, 50):
        figures = pure_us(weight, options.rounds)
        said = ", ".join(f"{name} {us:.1f} us" for name, us in figures.items())
        print(f"pure, weights {weight}: {said}")
    servers = [Running("bare aiohttp", _serve_bare), Running("allocator", _serve_allocator)]
    statuses = {"bare aiohttp": b"HTTP/1.1 200", "allocator": b"HTTP/1.1 201"}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for lap in range(options.rounds + 1):
        for server in servers:
            before = server.cpu_s()
            seen = asyncio.run(load(server.port, statuses[server.name], options.seconds))
            if lap:  # the first lap warms up
                server.rates.append(len(seen) / (server.cpu_s() - before))
                print(
                    f"{server.name}: {len(seen) / options.seconds:,.0f}/s of clock, "
                    f"{server.rates[-1]:,.0f}/s of CPU, p50 {seen[len(seen) // 2] * 1e3:.2f} ms, "
                    f"p99 {seen[len(seen) * 99 // 100] * 1e3:.2f} ms"
                )
    bare, ours = (statistics.median(server.rates) for server in servers)
    print(f"medians: bare {bare:,.0f}/s, allocator {ours:,.0f}/s, ratio {ours / bare:.2f}")
    print(f"(the budget is 8,000 beside 13,600: ratio {8000 / 13600:.2f})")
    for server in servers:
        server.process.terminate()
        server.process.join(5)


if __name__ == "__main__":
    main()
