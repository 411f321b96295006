"""Flows shared by a fleet of relays behind one address, through a Redis that may fail at any time.

A relay that takes over the address can forward its clients' packets before their next check, and
sessions whose credential has expired go on. Nothing waits for Redis: writes are batched, and a
packet whose source has to be looked up is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from firsthop_relay import log
from firsthop_relay.flows.flow import ClientSockaddr, Flow, ListenerFlows
from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival.flow_record import decode, encode
from firsthop_relay.survival.server_flows import ServerFlows

PREFIX = "firsthop:flow:"
TICK_S = 0.05
PAUSE_S = 1.0
"""Pause after a failure, in seconds; pending writes are kept, pending look-ups are not."""
PATIENCE_S = 1.0
ASKED_A_TICK = 200
"""Keys looked up per tick, so junk from a million sources causes at most 4,000 per second."""
ASKED_KEPT = 65_536
ASK_AGAIN_S = 2.0


class Pipeline(Protocol):
    """The part of a Redis pipeline that is used."""

    def set(self, name: str, value: bytes, *, ex: int) -> Any:
        """Write a key that expires after `ex` seconds."""

    async def execute(self) -> Any:
        """Send all writes."""


class Store(Protocol):
    """The part of a Redis client that is used."""

    def pipeline(self, transaction: bool = True) -> Pipeline:
        """Several writes as one."""

    def mget(self, keys: Sequence[str], /) -> Awaitable[Sequence[bytes | str | None]]:
        """The values of `keys`, in their order."""

    async def aclose(self) -> None:
        """Close its connections."""


def connect(url: str) -> Store:
    """A client of the Redis at `url`. Raises ImportError if the extra is not installed, ValueError
    for an invalid URL."""
    from redis.asyncio import Redis  # an optional extra

    client: Store = Redis.from_url(
        url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    )
    return client


class SharedFlows:
    """Writes a server's confirmed flows, and looks up those of other relays."""

    def __init__(
        self,
        server: RelayServer,
        store: Store,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._store = store
        self._wall = wall
        self._flows = ServerFlows(server)
        self._pending: dict[str, bytes] = {}
        self._wanted: dict[tuple[ListenerFlows, ClientSockaddr], None] = {}
        self._asked: dict[tuple[ListenerFlows, ClientSockaddr], float] = {}
        self._failing = False
        limits = server.table.limits
        self._expiry_s = int(limits.idle_s + limits.look_s) + 1

    # The server's `Keeper`

    def keep(self, flow: Flow) -> None:
        """Write a UDP flow at the next tick; TCP connections end with their process."""
        if flow.listener in self._flows.udp:
            record = self._flows.record(flow, now=self._wall())
            self._pending[self._key(flow.listener, flow.source)] = encode(record)

    def touch(self, flow: Flow) -> None:
        """Keep its key from expiring."""
        if flow.current:
            self.keep(flow)

    def forget(self, flow: Flow) -> None:
        """Does nothing: another relay may have the flow by now, and the key expires."""

    def ask(self, listener: ListenerFlows, source: ClientSockaddr) -> None:
        """Look up the flow of an unknown source at the next tick."""
        key, udp = (listener, source), self._flows.udp
        if listener in udp and len(self._wanted) < ASKED_A_TICK and key not in self._asked:
            self._wanted[key] = None

    # Redis

    async def run(self) -> None:
        """Write and look up flows until cancelled."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._tick()
                except Exception as error:  # any error, as none may end this loop
                    if not self._failing:
                        log.error("flow_store.lost", reason=f"{type(error).__name__}: {error}")
                    self._failing = True
                    self._wanted.clear()
                    await asyncio.sleep(PAUSE_S)
                else:
                    if self._failing:
                        log.info("flow_store.connected")
                    self._failing = False
        finally:
            await self._store.aclose()

    async def _tick(self) -> None:
        await self._write()
        await self._look_up()
        too_old = time.monotonic() - ASK_AGAIN_S
        if len(self._asked) > ASKED_KEPT:
            self._asked.clear()
        while self._asked and self._asked[oldest := next(iter(self._asked))] < too_old:
            del self._asked[oldest]

    async def _write(self) -> None:
        pending = dict(self._pending)
        if not pending:
            return
        pipeline = self._store.pipeline(transaction=False)
        for key, value in pending.items():
            pipeline.set(key, value, ex=self._expiry_s)
        await pipeline.execute()
        for key, value in pending.items():
            if self._pending.get(key) == value:
                del self._pending[key]

    async def _look_up(self) -> None:
        wanted, self._wanted = [*self._wanted], {}
        if not wanted:
            return
        for key in wanted:
            self._asked[key] = time.monotonic()
        values = await self._store.mget([self._key(*key) for key in wanted])
        for (listener, source), value in zip(wanted, values, strict=True):
            if isinstance(value, bytes):
                self._resume(listener, source, value)

    def _resume(self, listener: ListenerFlows, source: ClientSockaddr, value: bytes) -> None:
        """Use the old port if it is free: on the same machine the upstream then knows the flow."""
        record, now, server = decode(value), self._wall(), self._server
        if record is None or not now - record.opened_at < server.table.limits.lifetime_s:
            return
        # All relays of a fleet have one address, which another relay may record as another text.
        record = replace(record, listener=self._flows.udp[listener], source=source)
        port, upstreams = record.port, server.upstreams

        def attach(flow: Flow) -> bool:
            return server.has_room() and (upstreams.open(flow, port=port) or upstreams.open(flow))

        self._flows.resume(record, now=now, attach=attach)

    def _key(self, listener: ListenerFlows, source: ClientSockaddr) -> str:
        """Names the client's address and the port it sends to; a fleet shares the host address."""
        return f"{PREFIX}{source[0]} {source[1]} {self._flows.udp[listener].port}"
