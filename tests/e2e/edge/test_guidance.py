"""A real edge steers by prices and learned round trips, also when it is cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed.feed import Feed, ReaderState
from firsthop_steering.feed.exploration_targets import ExplorationTarget, ExplorationTargets
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, RelayStatus, Status
from firsthop_steering.plan.document import Document
from support.deployment import ask, free_port
from support.fed_edge import DOCUMENT, FRA, GERMANY, IAD, FedEdge
from support.standin import keyset, own_address
from support.waiting import until

pytestmark = pytest.mark.e2e

NEIGHBOUR = "91.0.1.0/24"
"""In Germany too, but not measured."""


def made(number: int) -> dict[str, Any]:
    """What every snapshot begins with."""
    return {"number": number, "lineage": "a", "created_at": datetime.now(UTC)}


@asynccontextmanager
async def streaming(feed: Feed) -> AsyncIterator[str]:
    """The URL at which `feed` is read."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        query = request.query
        numbers: Any = {kind: int(query[kind]) for kind in ("plan", "status") if kind in query}
        held = ReaderState(query.get("lineage"), numbers)
        kinds = query.get("kinds", "").split(",")
        with feed.subscribe(held, deltas=True, kinds=kinds) as reader:
            while not reader.closed:
                await response.write(await reader.next(1.0) or b"\n")
        return response

    app = web.Application()
    app.router.add_get("/v1/snapshots/stream", stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    address = own_address()
    await web.TCPSite(runner, address, 8080).start()
    try:
        yield f"http://{address}:8080"
    finally:
        feed.close()
        await runner.cleanup()


def metrics(edge: FedEdge) -> str:
    """The edge's own metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{edge.metrics}/metrics") as response:
        return str(response.read().decode())


async def test_an_edge_steers_by_prices_and_round_trips(tmp_path: Path) -> None:
    """As they come; whoami and metrics tell; a restart without the feed goes on by them."""
    key = Ed25519PrivateKey.generate()
    public = tmp_path / "snapshot.pub"
    public.write_text(key.public_key().public_bytes_raw().hex())
    up = {f"{id_}-1": RelayStatus(verdict="up", since=datetime.now(UTC)) for id_ in ("fra", "iad")}
    feed = Feed(key)
    feed.publish(Plan(document=Document.model_validate(DOCUMENT), **made(1)))
    feed.publish(Status(relays=up, **made(1)))
    feed.publish(keyset().model_copy(update={"lineage": "a"}))

    async def holds(condition: Callable[[], Any], what: str) -> None:
        await asyncio.to_thread(until, condition, what)

    async with streaming(feed) as url:
        edge = FedEdge(tmp_path, api=url, token="t", key=public)
        with edge.running():
            await holds(edge.ready, "the edge is ready")
            await holds(lambda: edge.answer() == [FRA], "the nearest answers")
            feed.publish(Prices(now={"fra": 500.0}, **made(1)))
            await holds(lambda: edge.answer() == [IAD], "it is too dear")
            feed.publish(Prices(without={"iad": {"fra": 500.0}}, **made(2)))
            await holds(lambda: edge.answer() == [FRA], "it costs nothing any more")
            regions = {"regions": ("fra", "iad"), "base_ms": (4.0, 4.0)}
            feed.publish(Latency(prefixes={GERMANY: (3000, 100)}, **regions, **made(7)))
            await holds(lambda: edge.answer() == [IAD], "its measured round trip decides")
            assert edge.answer(NEIGHBOUR) == [FRA]
            said = edge.said()["snapshots"]
            assert (said["prices"]["number"], said["latency"]["number"]) == (2, 7)
            assert 'firsthop_snapshot_age_seconds{kind="latency"}' in metrics(edge)
            told = str(ask(edge.dns, name="whoami.edge.example.", kind="TXT", tcp=True))
            assert "latency=7 prices=2" in told
    with edge.running():
        await holds(edge.ready, "the edge is ready again")
        await holds(lambda: edge.answer() == [IAD], "it goes on by what it kept")
        assert edge.answer(NEIGHBOUR) == [FRA]
        assert "refused" not in edge.log.read_text()


async def test_an_edges_allocator_explores_what_is_promised(tmp_path: Path) -> None:
    """As soon as it is told, while DNS and tables stay as they are; also when it is cut off."""
    key, token = Ed25519PrivateKey.generate(), "an-allocators-token"
    public = tmp_path / "snapshot.pub"
    public.write_text(key.public_key().public_bytes_raw().hex())
    more = [{"id": f"fra-{n}", "region": "fra", "ipv4": f"127.0.10.{n + 5}"} for n in (2, 3)]
    media = {"id": "eu", "wire_id": 7, "latitude": 50.0, "longitude": 8.0}
    document = Document.model_validate(
        {
            **DOCUMENT,
            "relays": [*DOCUMENT["relays"], *more],
            "transceiver_regions": [media],
            "transceivers": [{"id": "eu-1", "region": "eu", "host": "127.0.20.1", "port": 4000}],
        }
    )
    digest = hashlib.sha256(token.encode()).hexdigest()
    keys = {"lineage": "a", "allocator_tokens": {digest: None}}
    up = {each.id: RelayStatus(verdict="up") for each in document.relays}
    feed = Feed(key)
    feed.publish(Plan(document=document, **made(1)))
    feed.publish(Status(relays=up, **made(1)))
    feed.publish(keyset().model_copy(update=keys))
    promise = ExplorationTarget(rate=0.2, gain_ms={"iad": 5.0})
    explore = ExplorationTargets(share=0.2, prefixes={GERMANY: promise})
    rows = {"regions": ("fra", "iad"), "base_ms": (4.0, 4.0), "prefixes": {GERMANY: (100, 1000)}}
    port = free_port()
    body = json.dumps({"client_ip": GERMANY.split("/")[0]}).encode()

    def explored() -> bool:
        wanted = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/allocations", data=body, headers=wanted
        )
        with urllib.request.urlopen(asked) as response:
            answer = json.loads(response.read())
        extra = [each["region"] for each in answer["relays"][3:]]
        assert extra == answer["decision"]["explored"]
        return bool(extra == ["iad"])

    def counted() -> bool:
        return "firsthop_allocations_explored_total{" in metrics(edge)

    async with streaming(feed) as url:
        edge = FedEdge(tmp_path, api=url, token="t", key=public)
        with edge.running(FIRSTHOP_ALLOCATOR_LISTEN=f"127.0.0.1:{port}"):
            await asyncio.to_thread(until, edge.ready, "the edge is ready")
            assert not await asyncio.to_thread(lambda: any(explored() for _ in range(20)))
            feed.publish(Latency(explore=explore, **rows, **made(7)))
            await asyncio.to_thread(until, explored, "an allocation explores")
            await asyncio.to_thread(until, counted, "and is counted")
            assert set(edge.answer()) <= {each["ipv4"] for each in more} | {FRA}
    with edge.running(FIRSTHOP_ALLOCATOR_LISTEN=f"127.0.0.1:{port}"):
        await asyncio.to_thread(until, edge.ready, "the edge is ready again")
        await asyncio.to_thread(until, explored, "it goes on by what it kept")
