"""Whether the relay's process is there: told by the kernel, which refuses in place of the dead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from firsthop_healthchecks.agent import presence
from firsthop_healthchecks.agent.presence import Presence
from support.standin import own_address

pytestmark = pytest.mark.e2e
PORT = 9000
Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Found:
    """What a presence says, in order."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bool] = asyncio.Queue()

    async def next(self) -> bool:
        async with asyncio.timeout(120):
            return await self.said.get()


@asynccontextmanager
async def watched(host: str) -> AsyncIterator[Found]:
    found = Found()
    watching = asyncio.create_task(Presence(host, PORT).run(found.said.put_nowait))
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()


class Listener:
    """A listener that dies as a process does: with all its connections."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.taken = asyncio.Event()
        self.connections: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def live(self, accept: Accept | None = None) -> None:
        self.taken.clear()
        self._server = await asyncio.start_server(
            accept or self._take, self.host, PORT, reuse_address=True
        )

    def _take(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.taken.set()

    def die(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()


async def test_a_death_and_a_return_are_told_once_each() -> None:
    """The first because a connection ends, with no interval to wait for."""
    relay = Listener(own_address())
    await relay.live()
    async with watched(relay.host) as found:
        await relay.taken.wait()
        assert found.said.empty(), "there is what it is taken for"
        relay.die()
        assert await found.next() is False
        await relay.live()
        assert await found.next() is True
        relay.die()
        assert await found.next() is False
        assert found.said.empty()


async def test_where_nobody_ever_was_nobody_is() -> None:
    async with watched(own_address()) as found:
        assert await found.next() is False


async def test_a_server_that_hangs_up_is_there() -> None:
    """At once, and with every connection: that is its right, and no crash."""
    relay, times = Listener(own_address()), asyncio.Queue[None]()

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.put_nowait(None)
        writer.close()

    async with watched(relay.host) as found:
        assert await found.next() is False
        await relay.live(hang_up)
        assert await found.next() is True, "it came back"
        for _ in range(3):
            await times.get()
        assert found.said.empty()
    relay.die()


async def test_silence_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that takes nothing: connections time out, and nothing is said of the relay."""
    monkeypatch.setattr(presence, "CONNECT_S", 0.1)
    host, tried = own_address(), asyncio.Event()
    with socket.create_server((host, PORT), backlog=0), socket.socket() as first:
        first.connect((host, PORT))  # fills the queue
        watch = Presence(host, PORT)
        connect, times = watch._connect, 0

        async def counted() -> presence.Connection:
            nonlocal times
            times += 1
            if times == 4:
                tried.set()
            return await connect()

        monkeypatch.setattr(watch, "_connect", counted)
        said: list[bool] = []
        watching = asyncio.create_task(watch.run(said.append))
        async with asyncio.timeout(120):
            await tried.wait()
        watching.cancel()
        assert said == []


async def test_who_crashes_again_and_again_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that dies before it has stood for a while does not come and go in answers."""
    monkeypatch.setattr(presence, "BACK_FIRST_S", 3600.0)
    relay = Listener(own_address())
    async with watched(relay.host) as found:
        assert await found.next() is False
        for _ in range(3):
            await relay.live()
            await relay.taken.wait()
            relay.die()
        assert found.said.empty()


async def test_a_name_with_two_addresses_is_gone_when_both_refuse() -> None:
    """`localhost` is one where IPv6 is on; nobody listens at either."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    found = Found()
    watching = asyncio.create_task(Presence("localhost", port).run(found.said.put_nowait))
    assert await found.next() is False
    watching.cancel()
