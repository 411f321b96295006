"""Relays as processes under test: command lines, successors, workers, counters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientSession

from firsthop_steering.feed.snapshot import KeySet
from support.media import FarEnd, counters, far_end, write_routes
from support.standin import Process, keyset, own_address, running, write_route_keys
from support.waiting import eventually

CLIENTS = 24
"""So that the kernel's hash gives some to every worker."""


class Options:
    """The command line of a relay and, later, of its successor."""

    def __init__(self, tmp_path: Path, *, workers: int) -> None:
        self.host = own_address()
        self.address, self.metrics, self.tcp = (
            (self.host, 3478),
            (self.host, 9000),
            (self.host, 443),
        )
        self.arguments = [
            "--listen", f"{self.host}:3478", "--metrics", f"{self.host}:9000",
            "--listen-tcp", f"{self.host}:443", "--route-keys", str(tmp_path / "keys"),
            "--routes", str(tmp_path / "routes.yaml"), "--workers", str(workers),
            "--state-dir", str(tmp_path / "state"),
        ]  # fmt: skip


METRICS = 9000


@dataclass(slots=True)
class Site:
    """A relay under test, its far end, and its files."""

    address: tuple[str, int]
    keys: KeySet
    far: FarEnd
    routes: Path
    relay: Process

    async def counted(self) -> dict[str, float]:
        return await counters((self.address[0], METRICS))

    async def measured(self, since: float) -> list[dict[str, Any]]:
        """Round trips of its clients by TCP, noted later than that."""
        url = f"http://{self.address[0]}:{METRICS}/samples?since={since!r}"
        async with ClientSession() as session, session.get(url) as response:
            assert response.status == 200
            rows: list[dict[str, Any]] = (await response.json())["samples"]
            return rows


@asynccontextmanager
async def site(
    tmp_path: Path, *options: str, far_host: str = "127.0.0.1", **environment: str
) -> AsyncIterator[Site]:
    keys, host = keyset(), own_address()
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys, far_host) as far:
        routes = write_routes(tmp_path / "routes.yaml", far)
        arguments = ("--listen", f"{host}:3478", "--metrics", f"{host}:{METRICS}")
        files = ("--route-keys", str(tmp_path / "keys"), "--routes", str(routes))
        async with running("relay", *arguments, *files, *options, **environment) as relay:
            await relay.said("relay.listening")
            yield Site((host, 3478), keys, far, routes, relay)


def process_of(there: Site) -> psutil.Process:
    """The relay's own."""
    listen = f"{there.address[0]}:{there.address[1]}"
    (found,) = [each for each in psutil.Process().children() if listen in each.cmdline()]
    return found


@asynccontextmanager
async def started(options: Options, tmp_path: Path, far: FarEnd) -> AsyncIterator[Process]:
    """A relay that leads to `far`."""
    write_routes(tmp_path / "routes.yaml", far)
    async with running("relay", *options.arguments) as relay:
        await relay.said("relay.listening")
        yield relay


async def counted_by(options: Options, *, sessions: int) -> dict[str, float]:
    """The counters once the workers have reported so many sessions."""

    async def reported() -> dict[str, float] | None:
        counted = await counters(options.metrics)
        return counted if counted.get("sessions") == sessions else None

    found: dict[str, float] = await eventually(reported, f"{sessions} sessions are reported")
    return found


def workers_of(options: Options) -> list[psutil.Process]:
    """The worker processes of a relay."""
    (relay,) = [p for p in psutil.Process().children() if f"{options.host}:3478" in p.cmdline()]
    return [each for each in relay.children() if "relay-worker" in each.cmdline()]
