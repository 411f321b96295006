"""The endpoint of the snapshot stream: sealed snapshots, one per line, until the reader leaves.

Empty lines are heartbeats. The stream works without the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import structlog
from aiohttp import web
from pydantic import Field

from firsthop_controlplane.access.tokens import REPLICAS
from firsthop_controlplane.api.operations import Calling, Operation, QueryParameters
from firsthop_controlplane.errors import NoLeader
from firsthop_controlplane.feed.feed import ReaderState, Subscription

log = structlog.get_logger(__name__)
READERS = REPLICAS | {"edge"}
MEDIA_TYPE = "application/x-ndjson"
_HIGHEST = 2**63 - 1


class StreamQuery(QueryParameters):
    """The newest snapshots that the reader has, and what it wants to receive."""

    lineage: str | None = Field(default=None, max_length=64)
    plan: int | None = Field(default=None, ge=0, le=_HIGHEST)
    status: int | None = Field(default=None, ge=0, le=_HIGHEST)
    keys: int | None = Field(default=None, ge=0, le=_HIGHEST)
    prices: int | None = Field(default=None, ge=0, le=_HIGHEST)
    latency: int | None = Field(default=None, ge=0, le=_HIGHEST)
    kinds: str = Field(default="", max_length=200, pattern=r"^[a-z,]*$")
    """Kinds to send in addition to plan, status and keys: `prices`, `latency`, separated by commas.
    Unknown kinds are ignored."""
    deltas: bool = False
    """Send only the changes of a status, unless the reader is too far behind."""
    geodata: str = Field(default="", max_length=64, pattern=r"^[0-9a-f]*$")
    """The digest of the reader's geo data, for `explain` and `simulate`."""

    def held(self) -> ReaderState:
        kinds = ("plan", "status", "keys", "prices", "latency")
        numbers = {kind: getattr(self, kind) for kind in kinds}
        return ReaderState(self.lineage, {k: n for k, n in numbers.items() if n is not None})  # type: ignore[misc]


async def _stream(calling: Calling) -> web.StreamResponse:
    if not _still_allowed(calling):
        raise NoLeader("a replica tried to follow one that does not lead")
    response = web.StreamResponse(headers={"Cache-Control": "no-store"})
    response.content_type = MEDIA_TYPE
    request, deps = calling.request, calling.deps
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        return response
    # With no buffer, a write returns once the kernel has taken all of it: then the reader keeps up.
    transport.set_write_buffer_limits(high=0)
    query: StreamQuery = calling.query
    taken = query.kinds.split(",")
    held = query.held()
    with deps.feed.subscribe(
        held, deltas=query.deltas, kinds=taken, geodata=query.geodata
    ) as subscription:
        try:
            await _send(response, subscription, calling)
        except TimeoutError:
            deps.measures.stuck_readers.inc()
            log.warning("stream.stuck", peer=request.remote)
            transport.abort()
        except ConnectionError:
            log.info("stream.ended", peer=request.remote)
    return response


async def _send(response: web.StreamResponse, subscription: Subscription, calling: Calling) -> None:
    settings = calling.deps.settings
    while not subscription.closed:
        # Random, so that heartbeats to all readers do not coincide.
        patience_s = settings.heartbeat_s * random.uniform(0.7, 1.0)  # noqa: S311
        lines = await subscription.next(patience_s)
        if not _still_allowed(calling):
            return
        async with asyncio.timeout(settings.stuck_after_s):
            await response.write(lines or b"\n")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.shutdown_s):
            await response.write_eof()


def _still_allowed(calling: Calling) -> bool:
    """False if the token was revoked or has expired: its stream ends.

    For replicas, false if this one does not lead: they must follow the leader itself.
    """
    deps = calling.deps
    if calling.principal is not None and calling.principal.role in REPLICAS:
        return deps.leadership.leads
    secret = calling.request.headers.get("Authorization", "").partition(" ")[2].strip()
    principal = deps.tokens.find(secret)
    return principal is not None and principal.valid(deps.now())


_LINES: dict[str, Any] = {
    "type": "string",
    "description": "Lines: sealed snapshots (firsthop_steering.feed.snapshot), or empty every 2 s.",
}

OPERATIONS = (
    Operation(
        method="GET", path="/v1/snapshots/stream", name="stream", tag="machines", roles=READERS,
        summary="Plan, keys, status and the requested other kinds, now and after every change",
        call=_stream, query=StreamQuery, answer=_LINES, media_type=MEDIA_TYPE,
    ),
)  # fmt: skip
