"""Communication with other control planes: follows the leader's stream, forwards calls."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator

import aiohttp
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop_controlplane.errors import NoLeader
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_steering.feed.deltas import applied, follows
from firsthop_steering.feed.snapshot import (
    Delta,
    Latency,
    Prices,
    RejectedSnapshot,
    Status,
    kind_of,
    supersedes,
    unseal,
)

log = structlog.get_logger(__name__)
SILENCE_S = 5.0
"""Seconds without data after which the stream is dead; it has a heartbeat every 2 s."""
RETRY_S = 0.2
LOOK_S = 0.1
"""Seconds between two checks whether the leader changed."""
NOTIFY_S = 2.0
"""Seconds between two attempts to notify a former leader that it was replaced."""
FORWARD_S = 2.5
"""Time-out of a forwarded call: less than the 3 s that a prober waits for a response."""
MAX_LINE = 64 * 2**20
FORWARDED = "X-Firsthop-Forwarded"
_PASSED_ON = ("Content-Type", "Retry-After", "ETag", "Cache-Control")


def replica_secret(master_key: bytes) -> str:
    """The bearer token between replicas, derived from the master key, which all of them have."""
    return hmac.new(master_key, b"firsthop replica v1", hashlib.sha256).hexdigest()


class Peers:
    """Follows the leader and forwards calls to it, while this replica does not lead itself."""

    def __init__(
        self, leadership: ReplicaLeadership, feed: Feed, trusted: Ed25519PublicKey, secret: str
    ) -> None:
        self._leadership = leadership
        self._feed = feed
        self._trusted = trusted
        self._authorization = {"Authorization": f"Bearer {secret}"}
        self._session: aiohttp.ClientSession | None = None
        self._notified_at = -NOTIFY_S
        self.connected_to = ""
        """URL of the leader whose stream is followed; empty if none is."""
        self.last_error = ""

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Open the HTTP session that calls need."""
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield
        self._session = None

    async def run(self) -> None:
        """Follow the leader, or as leader notify the previous one, until cancelled."""
        while True:
            url = self._leadership.leader_url()
            if url and url != self._leadership.url:
                await self._while_leading(url)
            await self._notify_predecessor()
            await asyncio.sleep(LOOK_S)

    async def _while_leading(self, url: str) -> None:
        following = asyncio.create_task(self._follow(url))
        try:
            while not following.done() and self._leadership.leader_url() == url:
                await asyncio.wait({following}, timeout=LOOK_S)
        finally:
            following.cancel()
            (result,) = await asyncio.gather(following, return_exceptions=True)
            if self.connected_to:
                log.info("leader.lost", url=url, reason=str(result))
            self.connected_to = ""
        if isinstance(result, Exception):
            self.last_error = f"{url}: {str(result) or type(result).__name__}"
            await asyncio.sleep(RETRY_S)

    async def _follow(self, url: str) -> None:
        assert self._session is not None
        query = {"deltas": "true", "kinds": "prices,latency"}
        held = (self._feed.status, self._feed.guidance.prices, self._feed.guidance.latency)
        for each in held:
            if each is not None and each.lineage == query.setdefault("lineage", each.lineage):
                query[kind_of(each)] = str(each.number)
        timeout = aiohttp.ClientTimeout(total=None, connect=2.0, sock_read=SILENCE_S)
        async with self._session.get(
            f"{url.rstrip('/')}/v1/snapshots/stream",
            params=query,
            headers=self._authorization,
            timeout=timeout,
        ) as response:
            if response.status != 200:
                raise ValueError(f"the leader answers {response.status}")
            self.connected_to = url
            log.info("leader.followed", url=url)
            while line := await response.content.readuntil(b"\n", max_size=MAX_LINE):
                if line.strip():
                    self.accept(line)

    def accept(self, line: bytes) -> None:
        """Publish a received status, delta or guidance; other kinds are ignored.

        Plans and keys come from the store. Raises ValueError if a delta does not follow the present
        status; then the stream is opened again.
        """
        snapshot, present = unseal(line, self._trusted), self._feed.status
        if isinstance(snapshot, RejectedSnapshot):
            log.error("leader.snapshot_refused", reason=snapshot.reason)
        elif isinstance(snapshot, Prices | Latency):
            if supersedes(snapshot, self._feed.present(kind_of(snapshot))):
                self._feed.publish(snapshot)
        elif isinstance(snapshot, Status | Delta) and supersedes(snapshot, present):
            if isinstance(snapshot, Status):
                self._feed.publish(snapshot)
            elif present is not None and follows(snapshot, present):
                self._feed.publish(applied(snapshot, present))
            else:
                raise ValueError(f"delta {snapshot.number} does not follow")

    async def _notify_predecessor(self) -> None:
        """Notify the previous leader, which cannot know of us if it cannot reach the database."""
        leadership, now = self._leadership, self._leadership.clock()
        before = leadership.predecessor
        if before is None or not before.url or not leadership.leads or leadership.lease is None:
            return
        if now - self._notified_at < NOTIFY_S:
            return
        self._notified_at = now
        assert self._session is not None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.post(
                f"{before.url.rstrip('/')}/v1/replicas/leader",
                json={"term": leadership.lease.term, "url": leadership.url},
                headers=self._authorization,
                timeout=aiohttp.ClientTimeout(total=1.0),
            ) as response:
                if response.status < 500:
                    leadership.predecessor = None

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        """The leader's response to a call that only the leader can serve; raises NoLeader.

        If the leader changes meanwhile, the caller gets an error at once, so that it tries again.
        """
        url = self._leadership.leader_url()
        if not url or FORWARDED in request.headers:
            raise NoLeader("no leader is known")
        calling = asyncio.create_task(self._call(url, request, body))
        try:
            while not calling.done():
                await asyncio.wait({calling}, timeout=LOOK_S)
                if not calling.done() and self._leadership.leader_url() != url:
                    raise NoLeader("the leader changed during the call")
            return calling.result()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoLeader(f"the leader {url}: {str(error) or type(error).__name__}") from None
        finally:
            calling.cancel()

    async def _call(self, url: str, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        headers = {FORWARDED: "1", "Authorization": request.headers.get("Authorization", "")}
        headers["Content-Type"] = request.headers.get("Content-Type", "application/json")
        if "If-None-Match" in request.headers:
            headers["If-None-Match"] = request.headers["If-None-Match"]
        async with self._session.request(
            request.method,
            url.rstrip("/") + request.path_qs,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=FORWARD_S),
        ) as answer:
            kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            return web.Response(
                body=await answer.read() or None, status=answer.status, headers=kept
            )
