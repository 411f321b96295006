"""Leader election with PostgreSQL: a session that holds a lock, and a row that is the lease.

This module reads and writes the database; `leadership` decides the next state.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from firsthop_controlplane.leader.leadership import (
    LOOK_S,
    RENEW_S,
    STALE_S,
    Away,
    Finding,
    HeldLease,
    Leader,
    LeadershipState,
    Lease,
    Outranked,
    Standby,
    Step,
    Taken,
    after,
)
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.store.engine import failure, unavailable

log = structlog.get_logger(__name__)
PATIENCE_S = 1.0
"""A slower database counts as unreachable: a look must end well before `UNSURE_S`."""
LEADER_LOCK = 0x66697273_6C656164
_HIGH, _LOW = LEADER_LOCK >> 32, LEADER_LOCK & 0xFFFFFFFF
# Lock and lease in one statement, so that the process cannot be suspended between them.
_ACQUIRE = text(
    "WITH got AS MATERIALIZED (SELECT pg_try_advisory_lock(:lock) AS ok) "
    "UPDATE leader SET term = term + 1, holder = :holder, url = :url, pid = pg_backend_pid(), "
    "renewed_at = clock_timestamp() FROM got WHERE got.ok RETURNING term"
)
_RETAKE = text(
    "WITH got AS MATERIALIZED (SELECT pg_try_advisory_lock(:lock) AS ok) "
    "UPDATE leader SET url = :url, pid = pg_backend_pid(), renewed_at = clock_timestamp() "
    "FROM got WHERE got.ok AND term = :term AND holder = :holder RETURNING term"
)
_RENEW = text(
    "UPDATE leader SET url = :url, renewed_at = clock_timestamp() "
    "WHERE term = :term AND holder = :holder RETURNING term"
)
_LEASE = text(
    "SELECT term, holder, url, "
    "extract(epoch FROM clock_timestamp() - renewed_at)::float8 AS age_s FROM leader"
)
# The statement itself checks again, so that a lease renewed meanwhile is not ended.
_END_HOLDER = text(
    "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN leader ON leader.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = :high AND l.objid = :low "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (leader.holder = :holder "
    "OR leader.renewed_at < clock_timestamp() - make_interval(secs => :stale))"
)


class Election:
    """Takes, renews and loses the leadership of this replica."""

    def __init__(
        self,
        engine: AsyncEngine,
        leadership: ReplicaLeadership,
        *,
        on_lead: Callable[[int], Awaitable[None]],
        on_sure: Callable[[], None],
    ) -> None:
        """`on_lead` is called with the term before anything is published in it.

        `on_sure` is called when a leader starts, or may publish again after it was unsure.
        """
        self._engine = engine
        self._leadership = leadership
        self._clock = leadership.clock
        self._on_lead = on_lead
        self._on_sure = on_sure
        self._holder = secrets.token_hex(8)
        self._connection: AsyncConnection | None = None
        self._has_lock = False

    async def run(self) -> None:
        """Look at the database and renew the lease, until cancelled."""
        while True:
            started = self._clock()
            step = await self.look()
            if step == "end holder":
                await self._end_holder()
                continue
            pause = RENEW_S if self._leadership.leads and self._has_lock else LOOK_S
            await asyncio.sleep(max(0.05, started + pause - self._clock()))

    async def look(self) -> Step:
        """Look at the database once, and change the state accordingly."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(PATIENCE_S):
                finding = await self._find()
        except Exception as error:
            if not (unavailable(error) or isinstance(error, TimeoutError)):
                log.exception("leadership.look_failed")
            await self._disconnect()
            finding = Away(failure(error))
        unsure = self._leadership.leads and not self._leadership.may_publish()
        step = await self._become(finding, asked_at)
        if unsure and self._leadership.may_publish():
            self._on_sure()
        return step

    async def outranked(self, term: int, url: str) -> None:
        """A peer claims the leadership in `term`: become a standby if our term is lower."""
        await self._become(Outranked(Lease(term, "", url)), self._clock())

    async def _become(self, finding: Finding, asked_at: float) -> Step:
        old = self._leadership.state
        if isinstance(finding, HeldLease | Taken):
            self._leadership.lease_read_at = asked_at
        new, step = after(old, finding, asked_at)
        if isinstance(old, Leader) and not isinstance(new, Leader):
            self._leadership.state = new
            await self._disconnect()
            log.warning("leadership.ended", term=old.term, now=new.lease and new.lease.term)
        elif isinstance(new, Leader) and not (isinstance(old, Leader) and old.term == new.term):
            await self._lead(old, new)
        else:
            self._leadership.state = new
        return step

    async def _lead(self, old: LeadershipState, new: Leader) -> None:
        """Begin to lead, once the previous leader's state has been read."""
        try:
            await self._on_lead(new.term)
        except Exception as error:
            if not unavailable(error):
                log.exception("leadership.start_failed", term=new.term)
            self._leadership.state = Standby(new.lease)
            await self._disconnect()
            return
        self._leadership.predecessor, self._leadership.state = old.lease, new
        self._leadership.hand_overs += 1
        log.info("leadership.started", term=new.term)
        self._on_sure()

    async def _find(self) -> Finding:
        connection = self._connection or await self._connect()
        self._has_lock = await self._take(connection)
        if not self._has_lock:
            await connection.execute(text("SELECT pg_advisory_unlock_all()"))
        row = (await connection.execute(_LEASE)).one_or_none()
        if row is None:
            return Away("the store has no lease")
        lease = Lease(row.term, row.holder, row.url, row.age_s)
        return HeldLease(lease) if self._has_lock else Taken(lease)

    async def _take(self, connection: AsyncConnection) -> bool:
        """Take or renew lock and lease; returns whether this replica has both."""
        state = self._leadership.state
        values: dict[str, object] = {"holder": self._holder, "url": self._leadership.url}
        if isinstance(state, Leader):
            values["term"] = state.term
        if self._has_lock:
            statement = _RENEW
        else:
            values["lock"] = LEADER_LOCK
            statement = _RETAKE if isinstance(state, Leader) else _ACQUIRE
        return (await connection.execute(statement, values)).one_or_none() is not None

    async def _end_holder(self) -> None:
        """End the database session that has the lock, if its lease is stale or ours."""
        values = {"high": _HIGH, "low": _LOW, "holder": self._holder, "stale": STALE_S}
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE_S):
                connection = self._connection or await self._connect()
                ended = (await connection.execute(_END_HOLDER, values)).all()
                if ended:
                    log.warning("leadership.session_ended", sessions=len(ended))
        await asyncio.sleep(0.05)  # the server needs a moment to end it

    async def _connect(self) -> AsyncConnection:
        connection = await self._engine.connect()
        self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    async def _disconnect(self) -> None:
        """Close the session, which releases the lock."""
        connection, self._connection, self._has_lock = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(PATIENCE_S):
                    await connection.invalidate()
                    await connection.close()

    async def resign(self) -> None:
        """Stop leading, so that another replica takes over at once."""
        self._leadership.state = Standby(self._leadership.lease)
        await self._disconnect()
