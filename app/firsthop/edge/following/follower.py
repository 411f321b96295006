"""Follows the snapshot stream of any replica of the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import structlog

from firsthop.edge.following.snapshot_store import FeedGapError, SnapshotStore
from firsthop_net.replicas import Replicas
from firsthop_steering.feed.snapshot import Snapshot, kind_of

log = structlog.get_logger(__name__)

TAKEN = "prices,latency"
"""Kinds of snapshot that the feed sends only on request."""
SILENCE_S = 7.0
"""The feed sends a heartbeat every 2 s; a connection silent for this long is dead."""
MAX_LINE = 64 * 2**20
"""A longer line is not a snapshot; this limits memory if the feed is broken."""
MAX_LINE_S = 120.0
"""A replica that sends a line slower than this is left: 13 MB take this long at 0.9 Mbit/s."""
MAX_CLOCK_OFF_S = 60.0
"""Difference to a replica's clock from which it is logged. Far off, credentials of this edge expire
early or are refused, and its reports are refused."""
BACKOFF_S = (0.1, 3.3)
"""The shortest and the longest pause between attempts; with jitter of a half, up to 5 s."""


class NewGeodataError(Exception):
    """The edge's geo data have changed, so the control plane must be told again."""


class FeedFollower:
    """Has one connection at a time; calls `on_change` for every accepted snapshot."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        store: SnapshotStore,
        on_change: Callable[[Snapshot], None],
        *,
        geodata: Callable[[], str] = lambda: "",
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`geodata` gives the digest of this edge's geo data, empty if there are none.

        `chance` gives numbers in [0, 1), to choose the first replica and for jitter.
        """
        self.replicas = Replicas(urls, chance=chance)
        self._token = token
        self._store = store
        self._on_change = on_change
        self._geodata = geodata
        self._chance = chance
        self.connected_to = ""
        """The replica that feeds this edge; empty if there is none."""
        self.last_error = ""
        self.clock_off_s: float | None = None
        """How far this host's clock is ahead of the last replica's; None if not known."""

    async def run(self) -> None:
        """Follow until cancelled; after each failure, try the next replica after a random pause."""
        timeout = aiohttp.ClientTimeout(total=None, connect=3.0, sock_read=SILENCE_S)
        pause = BACKOFF_S[0]
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                url = self.replicas.url
                try:
                    await self._follow(session, url)
                    self.last_error = "the feed ended the stream"
                    self.replicas.failed(url)
                except (FeedGapError, NewGeodataError) as error:  # follow the same replica again
                    self.last_error = f"{url}: {error}"
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    self.last_error = f"{url}: {str(error) or type(error).__name__}"
                    self.replicas.failed(url)
                if self.connected_to:
                    log.warning("feed.lost", url=self.connected_to, reason=self.last_error)
                    pause = BACKOFF_S[0]
                self.connected_to = ""
                await asyncio.sleep(pause * (0.5 + self._chance()))
                pause = min(pause * 2, BACKOFF_S[1])

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> None:
        geodata = self._geodata()
        wanted = {"deltas": "true", "kinds": TAKEN, **({"geodata": geodata} if geodata else {})}
        async with session.get(
            f"{url}/v1/snapshots/stream",
            params=self._store.numbers() | wanted,
            headers={"Authorization": f"Bearer {self._token}"},
        ) as response:
            if response.status != 200:
                raise ValueError(f"the feed answers {response.status} {response.reason}")
            self._compare_clocks(url, response.headers.get("Date", ""), datetime.now(UTC))
            chunks, clock = response.content.iter_any(), asyncio.get_running_loop().time
            async for line in _lines(chunks, lambda: self._received(url, geodata), clock):
                snapshot = self._store.accept(line)
                if snapshot is not None:
                    log.info("snapshot.accepted", kind=kind_of(snapshot), number=snapshot.number)
                    self._on_change(snapshot)

    def _compare_clocks(self, url: str, date: str, now: datetime) -> None:
        """`date` is the response's field of that name (RFC 9110 §6.6.1)."""
        with contextlib.suppress(ValueError, TypeError):
            self.clock_off_s = (now - parsedate_to_datetime(date)).total_seconds()
            if abs(self.clock_off_s) > MAX_CLOCK_OFF_S:
                log.warning("clock.differs", url=url, ahead_s=round(self.clock_off_s))

    def _received(self, url: str, geodata: str) -> None:
        """Only a replica that sends octets, for example a heartbeat, counts as connected.

        Raises NewGeodataError if the replica knows other geo data than are in use.
        """
        if self._geodata() != geodata:
            raise NewGeodataError("the geo data have changed")
        if self.connected_to != url:
            self.connected_to = url
            log.info("feed.followed", url=url)


async def _lines(
    chunks: AsyncIterator[bytes], on_octets: Callable[[], None], clock: Callable[[], float]
) -> AsyncIterator[bytes]:
    """Lines that are not empty; empty ones are heartbeats. `on_octets` is called for all octets.

    `clock` is in seconds. Raises ValueError for a line that is too long or takes too long.
    """
    buffer, began = bytearray(), clock()
    async for chunk in chunks:
        on_octets()
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            buffer += end
            if buffer:
                yield bytes(buffer)
            buffer, began = bytearray(), clock()
        buffer += rest
        if len(buffer) > MAX_LINE:
            raise ValueError(f"a line of the feed is longer than {MAX_LINE} octets")
        if buffer and clock() - began > MAX_LINE_S:
            raise ValueError(f"a line of the feed takes more than {MAX_LINE_S:.0f} s")
        if not buffer:
            began = clock()
