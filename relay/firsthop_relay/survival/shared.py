"""Flows shared by a fleet of relays behind one address, in a Redis that may be gone at any time.

What a journal is to one process, this is to several: who takes an address over knows where its
clients' packets belong before their next check, and lets a call go on whose credential has expired.
Nothing waits for it: writes are gathered, and a packet whose source is looked up is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from firsthop_relay import log
from firsthop_relay.flows.flow import ClientSockaddr, Flow, Lane
from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival.flow_record import decode, encode
from firsthop_relay.survival.server_flows import ServerFlows

PREFIX = "firsthop:flow:"
TICK_S = 0.05
PAUSE_S = 1.0
"""After a failure; what was to be written meanwhile is kept, what was to be asked is not."""
PATIENCE_S = 1.0
ASKED_A_TICK = 200
"""So that junk from a million sources asks for 4,000 keys a second at most."""
ASKED_KEPT = 65_536
ASK_AGAIN_S = 2.0


class Pipeline(Protocol):
    """As much of a Redis pipeline as is used."""

    def set(self, name: str, value: bytes, *, ex: int) -> Any:
        """Write a key that expires after `ex` seconds."""

    async def execute(self) -> Any:
        """Send it all."""


class Store(Protocol):
    """As much of a Redis client as is used."""

    def pipeline(self, transaction: bool = True) -> Pipeline:
        """Several writes as one."""

    def mget(self, keys: Sequence[str], /) -> Awaitable[Sequence[bytes | str | None]]:
        """The values of `keys`, in their order."""

    async def aclose(self) -> None:
        """Close its connections."""


def connect(url: str) -> Store:
    """A client of the Redis at `url`. Raises ImportError without the extra, ValueError for a URL
    that is none."""
    from redis.asyncio import Redis  # an extra: only who asks for it needs it

    client: Store = Redis.from_url(
        url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    )
    return client


class SharedFlows:
    """Writes confirmed flows of a server, and finds those of others for it."""

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
        self._wanted: dict[tuple[Lane, ClientSockaddr], None] = {}
        self._asked: dict[tuple[Lane, ClientSockaddr], float] = {}
        self._failing = False
        limits = server.table.limits
        self._expiry_s = int(limits.idle_s + limits.look_s) + 1

    # What a server tells its keepers

    def keep(self, flow: Flow) -> None:
        """Write it at the next tick. TCP connections end with their process, so they are not."""
        if flow.lane in self._flows.udp:
            record = self._flows.record(flow, now=self._wall())
            self._pending[self._key(flow.lane, flow.source)] = encode(record)

    def touch(self, flow: Flow) -> None:
        """Its key shall not expire."""
        if flow.current:
            self.keep(flow)

    def forget(self, flow: Flow) -> None:
        """Nothing: it may be another relay's by now, and expires by itself."""

    def ask(self, lane: Lane, source: ClientSockaddr) -> None:
        """A packet came that belongs to no flow here: look for it at the next tick."""
        place, udp = (lane, source), self._flows.udp
        if lane in udp and len(self._wanted) < ASKED_A_TICK and place not in self._asked:
            self._wanted[place] = None

    # Redis

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._tick()
                except Exception as error:  # a library of many exceptions; none may end this loop
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
        for place in wanted:
            self._asked[place] = time.monotonic()
        values = await self._store.mget([self._key(*place) for place in wanted])
        for (lane, source), value in zip(wanted, values, strict=True):
            if isinstance(value, bytes):
                self._resume(lane, source, value)

    def _resume(self, lane: Lane, source: ClientSockaddr, value: bytes) -> None:
        """By the old port where it can be had: on the same machine the upstream then knows it."""
        record, now, server = decode(value), self._wall(), self._server
        if record is None or not now - record.opened_at < server.table.limits.lifetime_s:
            return
        # A fleet's addresses are one: what another relay calls its address is ours here.
        record = replace(record, listener=self._flows.udp[lane], source=source)
        port, upstreams = record.port, server.upstreams

        def attach(flow: Flow) -> bool:
            return server.has_room() and (upstreams.open(flow, port=port) or upstreams.open(flow))

        self._flows.resume(record, now=now, attach=attach)

    def _key(self, lane: Lane, source: ClientSockaddr) -> str:
        """Of the client's address and the port it sends to: a fleet's addresses are one."""
        return f"{PREFIX}{source[0]} {source[1]} {self._flows.udp[lane].port}"
