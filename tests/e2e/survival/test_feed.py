"""What the feed survives: dead, stopped and silent leaders, no database, half-open connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop.edge.following.follower import BACKOFF_S, SILENCE_S
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.postgres.server import EmbeddedPostgres
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.leader.peers import replica_secret
from firsthop_steering.feed.deltas import delta_between
from firsthop_steering.feed.snapshot import Status, seal
from support.replicas import FollowingEdge, Replica, Replicas, replicas
from support.waiting import eventually
from support.worlds import status_of

pytestmark = [pytest.mark.e2e, pytest.mark.database]


@pytest.fixture
async def two(tmp_path: Path, database_url: str) -> AsyncIterator[Replicas]:
    async with replicas(tmp_path, database_url) as made:
        yield made


async def _another_leads(made: Replicas, other: Replica) -> None:
    """How soon, `bench/handover.py` says."""
    await eventually(lambda: made.leads(other), "the other leads")


async def test_a_killed_leader_is_replaced(two: Replicas) -> None:
    """kill -9: statuses go on with higher numbers, and edges on either replica follow."""
    leader, (other,) = await two.follow_one()
    await two.apply(other)
    near = two.edge("near", leader.url, other.url)
    far = two.edge("far", other.url, leader.url)
    async with near.running(), far.running():
        assert await two.report(other, fra_1="up") == 204, "passed on to the leader"
        await asyncio.gather(near.sees(fra_1="up"), far.sees(fra_1="up"))
        before = near.seen[-1]
        assert before < first_number(2)
        leader.send(signal.SIGKILL)
        await _another_leads(two, other)
        assert await two.report(other, fra_1="down") == 204
        await asyncio.gather(near.sees(fra_1="down"), far.sees(fra_1="down"))
        for edge in (near, far):
            assert edge.seen == sorted({*edge.seen})
            assert edge.seen[-1] > first_number(2)
            assert edge.follower.connected_to == other.url
            assert edge.shelf.rejected == {}
        assert near.deltas
        leader.start()
        await eventually(lambda: two.ready(leader), "it is back")
        assert await two.leaders() == [other]
        assert await two.report(leader, fra_1="up") == 204
        await asyncio.gather(near.sees(fra_1="up"), far.sees(fra_1="up"))


async def test_a_stopped_leader_is_replaced_and_says_nothing_stale_when_it_runs_again(
    two: Replicas,
) -> None:
    """SIGSTOP keeps its session and its lock; SIGCONT finds it a standby before it speaks."""
    leader, (other,) = await two.follow_one()
    await two.apply(other)
    at_leader, at_other = two.edge("near", leader.url), two.edge("far", other.url)
    async with at_leader.running(), at_other.running():
        assert await two.report(leader, fra_1="up") == 204
        await asyncio.gather(at_leader.sees(fra_1="up"), at_other.sees(fra_1="up"))
        leader.send(signal.SIGSTOP)
        # Waits in its socket, and would turn a verdict under the old term.
        tempting = asyncio.create_task(two.report(leader, fra_2="up"))
        await _another_leads(two, other)
        assert await two.report(other, fra_1="down") == 204
        await at_other.sees(fra_1="down")
        # What it sent before it was stopped has arrived by now.
        last = max(each for each in at_leader.seen if each < first_number(2))
        leader.send(signal.SIGCONT)
        await at_leader.sees(fra_1="down")
        await tempting
        late = [each for each in at_leader.seen if last < each < first_number(2)]
        assert late == [], "nothing new under the old term"
        assert at_leader.seen == sorted({*at_leader.seen})
        await eventually(lambda: two.ready(leader), "it follows")
        assert await two.leaders() == [other]


async def test_a_leader_that_ends_hands_over(two: Replicas) -> None:
    """SIGTERM: what it knew is kept, and the next one leads at once."""
    leader, (other,) = await two.follow_one()
    await two.apply(other)
    edge = two.edge("edge", leader.url, other.url)
    async with edge.running():
        await two.report(leader, fra_1="up", fra_2="down", fra_3="up")
        await edge.sees(fra_1="up", fra_2="down", fra_3="up")
        leader.send(signal.SIGTERM)
        await _another_leads(two, other)

        async def of_the_next() -> bool:
            return edge.seen[-1] > first_number(2)

        await eventually(of_the_next, "the edge has a status of the next leader")
        await edge.sees(fra_1="up", fra_2="down", fra_3="up")


async def test_a_database_restart_leaves_one_leader_and_the_feed_goes_on(
    tmp_path: Path, own_server: EmbeddedPostgres
) -> None:
    """While it is away the leader goes on judging; reads refuse clearly; then there is one."""
    async with replicas(tmp_path, own_server.url) as made:
        leader, (other,) = await made.follow_one()
        await made.apply(other)
        edges = made.edge("near", leader.url), made.edge("far", other.url)
        async with edges[0].running(), edges[1].running():
            await made.report(other, fra_1="up")
            await asyncio.gather(*(edge.sees(fra_1="up") for edge in edges))
            await own_server.stop()
            for replica in (leader, other):
                status, body = await made.call(replica, "GET", "/v1/regions")
                assert (status, body["type"]) == (503, "urn:firsthop:problem:unavailable")
            for turn in ("down", "up", "down"):
                assert await made.report(other, fra_1=turn) == 204
                await asyncio.gather(*(edge.sees(fra_1=turn) for edge in edges))
            assert await made.leaders() == [leader], "nobody takes over what cannot be asked"
            await own_server.start()
            await eventually(lambda: made.ready(leader), "the first is ready")
            await eventually(lambda: made.ready(other), "the second is ready")

            async def one() -> bool:
                return len(await made.leaders()) == 1

            async def told() -> bool:
                # Another may begin to lead only now: a prober says it again every second.
                await made.report(leader, fra_2="up")
                return all(edge.verdict("fra-2") == "up" for edge in edges)

            await eventually(one, "one leads")
            await eventually(told, "both edges hear what is reported")
            for edge in edges:
                assert edge.seen == sorted({*edge.seen})


async def test_without_a_leader_and_a_database_machines_are_told_to_come_again(
    tmp_path: Path, own_server: EmbeddedPostgres
) -> None:
    """503 with Retry-After; edges keep what they have, and all goes on when both are back."""
    async with replicas(tmp_path, own_server.url) as made:
        leader, (other,) = await made.follow_one()
        await made.apply(other)
        edge = made.edge("edge", other.url)
        async with edge.running():
            await made.report(other, fra_1="up")
            await edge.sees(fra_1="up")
            await own_server.stop()
            leader.send(signal.SIGKILL)
            status, body = await made.call(other, "GET", "/v1/probes/targets", role="prober")
            assert (status, body["type"]) == (503, "urn:firsthop:problem:no-leader")
            assert await made.report(other, fra_1="down") == 503
            status, body = await made.call(other, "GET", "/readyz")
            assert status == 503
            assert any("no leader is followed" in reason for reason in body["reasons"])
            assert edge.verdict("fra-1") == "up"
            await own_server.start()
            await _another_leads(made, other)
            assert await made.report(other, fra_1="down") == 204
            await edge.sees(fra_1="down")


class Proxy:
    """Passes octets on to a replica until it goes silent, with all connections left open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._silent = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self._server.close()

    def go_silent(self) -> None:
        """What is in flight is lost; nobody is told."""
        self._silent.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._pump(reader, up_writer), self._pump(up_reader, writer), return_exceptions=True
        )

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self._silent.is_set():
                await asyncio.Event().wait()
            sink.write(data)
            await sink.drain()


async def test_an_edge_leaves_a_half_open_feed(two: Replicas) -> None:
    """No end of the connection is ever seen: the silence is, and within 10 s."""
    assert SILENCE_S + BACKOFF_S[0] < 10
    leader, (other,) = await two.follow_one()
    await two.apply(leader)
    async with Proxy(leader.port).running() as proxy:
        edge = two.edge("edge", proxy.url, other.url)
        async with edge.running():
            await two.report(leader, fra_1="up")
            await edge.sees(fra_1="up")
            assert edge.follower.connected_to == proxy.url
            proxy.go_silent()
            await two.report(leader, fra_1="down")
            await edge.sees(fra_1="down")
            assert edge.follower.connected_to == other.url


async def test_replicas_say_who_leads(start_api: Any) -> None:
    """The same status with the same number from both, and the same leader."""
    one = await start_api()
    other = await start_api()
    await one.made("/v1/regions", {"id": "fra", "latitude": 50.11, "longitude": 8.68})

    async def ready() -> bool:
        return bool((await other.get("/readyz")).status == 200)

    await eventually(ready, "the standby follows")

    async def same() -> bool:
        numbers = [(await each.get("/v1/status")).body["number"] for each in (one, other)]
        return numbers[0] == numbers[1] > first_number(1)

    await eventually(same, "both have the newest status")
    bodies = [(await each.get("/v1/status")).body for each in (one, other)]
    assert [body["leader"]["here"] for body in bodies] == [True, False]
    assert bodies[0]["leader"]["term"] == bodies[1]["leader"]["term"]
    assert bodies[1]["leader"]["url"] == one.url
    metrics = [(await each.get("/metrics")).body.decode() for each in (one, other)]
    for value, text in zip((1.0, 0.0), metrics, strict=True):
        assert f"firsthop_leader {value}" in text
        assert "firsthop_leader_lease_age_seconds " in text


async def test_a_leader_steps_down_when_a_peer_outranks_it(start_api: Any) -> None:
    """Only replicas may say so; a term that is not higher changes nothing."""
    api = await start_api()
    secret = replica_secret(bytes.fromhex((api.state_dir / "master.key").read_text()))
    path = "/v1/replicas/leader"
    url = "http://127.0.0.1:1"
    assert (await api.call("POST", path, {"term": 9, "url": url})).status == 403
    for term, here in ((1, True), (9, False)):
        told = await api.call("POST", path, {"term": term, "url": url}, token=secret)
        assert told.status == 204
        assert (await api.get("/readyz")).body["leader"]["here"] is here

    async def again() -> bool:
        return bool((await api.get("/readyz")).body["leader"]["here"])

    await eventually(again, "it leads again: the database knows of nobody else")


class FaultyFeed:
    """A feed that loses a delta on its first stream, and keeps what it is asked with."""

    def __init__(self, first: list[bytes], then: list[bytes]) -> None:
        self._streams = [first, then]
        self.asked: list[dict[str, str]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self._streams[min(len(self.asked), len(self._streams)) - 1]:
            await response.write(line)
        await asyncio.Event().wait()
        return response


async def test_a_gap_in_the_deltas_is_closed_by_a_whole_status(tmp_path: Path) -> None:
    """The edge says so, asks again without a number, and goes on with deltas."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    one, two, three, four, five = (status_of(n, a=("up", "down")[n % 2]) for n in range(1, 6))

    def delta(old: Status, new: Status) -> bytes:
        return seal(delta_between(old, new), key)

    feed = FaultyFeed(
        [seal(one, key), delta(one, two), delta(three, four)], [seal(four, key), delta(four, five)]
    )
    app = web.Application()
    app.router.add_get("/v1/snapshots/stream", feed.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    shelf = SnapshotStore(tmp_path / "snapshots", key.public_key(), any_age=True)
    edge = FollowingEdge(shelf, [f"http://{host}:{port}"], "token", 0.0)
    async with edge.running():

        async def there() -> bool:
            return shelf.status == five

        await eventually(there, "the edge has the newest status")
    await runner.cleanup()
    assert edge.seen == [1, 2, 4, 5]
    assert shelf.gaps == 1
    assert feed.asked == [{"deltas": "true", "kinds": "prices,latency"}] * 2
    again = SnapshotStore(tmp_path / "snapshots", key.public_key())
    again.load()
    assert again.status == five
