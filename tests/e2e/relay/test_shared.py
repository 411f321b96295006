"""Flows shared by a fleet: one relay goes, another takes its address over, and the call goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthop_ice.ufrag import RouteKeys
from firsthop_net.listening import bind_udp
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.flows.route_text import read_routes
from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival.flow_record import decode, encode
from firsthop_relay.survival.shared import ASKED_A_TICK, SharedFlows
from firsthop_steering.feed.snapshot import KeySet
from support.media import REGION, RTP, Client, FarEnd, credential, far_end
from support.relays import Options, counted_by, started
from support.standin import keyset, own_address, write_route_keys
from support.waiting import DEADLINE_S, eventually

pytestmark = pytest.mark.e2e


class Memory:
    """A Redis in this process, which may be told to fail."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.down = False
        self.asked: list[int] = []
        """How many keys each look-up was for."""
        self._writes: dict[str, bytes] = {}

    def pipeline(self, transaction: bool = True) -> Memory:
        self._writes = {}
        return self

    def set(self, name: str, value: bytes, *, ex: int) -> None:
        assert 0 < ex < 60
        self._writes[name] = value

    async def execute(self) -> None:
        self._fail()
        self.keys |= self._writes

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        self._fail()
        self.asked.append(len(keys))
        return [self.keys.get(key) for key in keys]

    async def aclose(self) -> None:
        """Nothing is open."""

    def _fail(self) -> None:
        if self.down:
            raise ConnectionError("refused")


@asynccontextmanager
async def relay(
    host: str, keys: KeySet, far: FarEnd, memory: Memory, *, later: float = 0
) -> AsyncIterator[RelayServer]:
    """One of a fleet, in this process; its clock is `later` by so many seconds."""
    name, port = far.address
    route = f"{{region: {REGION}, upstreams: [{{host: {name}, port: {port}}}]}}"
    table = FlowTable(keys=RouteKeys.from_keyset(keys), routes=read_routes(f"routes: [{route}]"))
    server = RelayServer(
        table, max_files=100, clock=lambda: datetime.now(UTC) + timedelta(seconds=later)
    )
    server.listen(bind_udp(host, 3478))
    shared = SharedFlows(server, memory)
    server.keepers.append(shared)
    server.ask = shared.ask
    running = asyncio.create_task(shared.run())
    server.start()
    try:
        yield server
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        server.close()


async def until_echoed(client: Client) -> None:
    """Media alone, without any check, until it comes back."""
    async with asyncio.timeout(DEADLINE_S):
        while not await client.echo(within=0.1):
            pass


async def test_another_relay_knows_the_flow_and_its_port(tmp_path: Path) -> None:
    """Before the client's next check, and the far end sees the address that it knows."""
    keys, host, memory = keyset(), own_address(), Memory()
    async with far_end(keys) as far:
        client = Client((host, 3478))
        async with relay(host, keys, far, memory):
            await client.connect(credential(keys))
            await eventually(lambda: memory.keys, "a flow is kept")
        async with relay(host, keys, far, memory) as second:
            await until_echoed(client)
            assert len(far.sources) == 1
            assert second.counters.flows_restored == 1
        client.close()


async def test_a_call_outlives_its_credential_also_there(tmp_path: Path) -> None:
    """A check with an expired credential is the flow's, once the flow is known."""
    keys, host, memory = keyset(), own_address(), Memory()
    async with far_end(keys) as far:
        client, session = Client((host, 3478)), credential(keys, lifetime=60)
        async with relay(host, keys, far, memory):
            await client.connect(session)
            await eventually(lambda: memory.keys, "a flow is kept")
        async with relay(host, keys, far, memory, later=3600) as second:
            await client.connect(session)
            assert second.counters.dropped[Drop.UFRAG_EXPIRED] >= 1
        client.close()


async def test_it_may_vanish_and_come_back(tmp_path: Path) -> None:
    """Calls do not notice; what could not be written is written later."""
    keys, host, memory = keyset(), own_address(), Memory()
    memory.down = True
    async with far_end(keys) as far:
        client, stranger = Client((host, 3478)), Client((host, 3478))
        async with relay(host, keys, far, memory):
            await client.connect(credential(keys))
            assert await client.echo()
            assert await stranger.ask(RTP, 0.1) is None
            assert not memory.keys
            memory.down = False
            await eventually(lambda: memory.keys, "a flow is kept")
        client.close()
        stranger.close()


def another_upstream(value: bytes) -> bytes:
    record = decode(value)
    assert record is not None
    return encode(replace(record, upstream=("192.0.2.99", 3479)))


def opened(at: float) -> Callable[[bytes], bytes]:
    def change(value: bytes) -> bytes:
        record = decode(value)
        assert record is not None
        return encode(replace(record, opened_at=at))

    return change


@pytest.mark.parametrize(
    "change",
    [
        another_upstream,
        opened(0),
        opened(float("nan")),
        lambda value: value[:-1],
        lambda _: b'{"ufrag": "x", "upstream": ["192.0.2.1", 3479], "port": 1, "opened": 1.0}',
    ],
    ids=["upstream", "too old", "no time", "cut", "JSON of an earlier release"],
)
async def test_what_it_holds_is_not_believed(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    """Upstreams are those of the table; what is no record is nothing."""
    keys, host, memory = keyset(), own_address(), Memory()
    async with far_end(keys) as far:
        client = Client((host, 3478))
        async with relay(host, keys, far, memory):
            await client.connect(credential(keys))
            await eventually(lambda: memory.keys, "a flow is kept")
        memory.keys = {key: change(value) for key, value in memory.keys.items()}
        async with relay(host, keys, far, memory) as second:
            assert await client.ask(RTP) is None
            assert memory.asked, "it was looked up"
            assert second.counters.flows_restored == 0
            assert not second.table.flow_counts.total
        client.close()


async def test_junk_asks_for_little() -> None:
    """However many sources: so many keys a tick, and each source once in a while."""
    keys, host, memory = keyset(), own_address(), Memory()
    async with far_end(keys) as far, relay(host, keys, far, memory) as server:
        (listener,) = server.udp.values()
        for number in range(10_000):
            server.handle(listener, RTP, ("203.0.113.1", number), lambda *_: None)
        await eventually(lambda: memory.asked, "the store is asked")
        for number in range(1, 4):
            server.handle(listener, RTP, ("203.0.113.1", 0), lambda *_: None)
            server.handle(listener, RTP, ("198.51.100.1", number), lambda *_: None)
            asked = [ASKED_A_TICK, *[1] * number]
            await eventually(
                lambda asked=asked: len(memory.asked) == len(asked), "a newcomer is asked for"
            )
            assert memory.asked == asked, "and nobody else"


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
async def test_a_real_redis(tmp_path: Path) -> None:
    """One relay process is killed; another, with no journal of it, goes on with the call."""
    keys, options = keyset(), Options(tmp_path, workers=2)
    socket = tmp_path / "redis.sock"
    options.arguments += ["--flow-store", f"unix://{socket}"]
    write_route_keys(tmp_path / "keys", keys)
    redis = await asyncio.create_subprocess_exec(
        "redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir",
        str(tmp_path), stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(socket.exists, "Redis is there")
        async with far_end(keys) as far:
            client, session = Client(options.address), credential(keys)
            async with started(options, tmp_path, far) as first:
                await client.connect(session)
                await counted_by(options, sessions=1)
                await first.kill()
            shutil.rmtree(tmp_path / "state")
            async with started(options, tmp_path, far):
                await until_echoed(client)
                counted = await counted_by(options, sessions=1)
                assert counted["flows_restored_total"] == 1
                redis.kill()
                await redis.wait()
                assert await client.echo()
            client.close()
    finally:
        if redis.returncode is None:
            redis.kill()
            await redis.wait()
