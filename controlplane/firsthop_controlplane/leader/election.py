"""Leadership over a real database: one session that holds the lock, one row that holds the lease.

`leadership` says what follows from what is found here.
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
    may_publish,
)
from firsthop_controlplane.store.engine import unavailable

log = structlog.get_logger(__name__)
PATIENCE_S = 1.0
"""A database that takes longer counts as away: asking must not use up what may be unsure."""
LEADER_LOCK = 0x66697273_6C656164
_HIGH, _LOW = LEADER_LOCK >> 32, LEADER_LOCK & 0xFFFFFFFF
# Lock and lease in one statement: nobody can stop between them.
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
# Looked at again where it is done: a lease that was renewed meanwhile is left alone.
_END_HOLDER = text(
    "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN leader ON leader.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = :high AND l.objid = :low "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (leader.holder = :holder "
    "OR leader.renewed_at < clock_timestamp() - make_interval(secs => :stale))"
)


class Election:
    """This replica's place: looks, renews, and tells when it begins and ends to lead."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        url: str,
        clock: Callable[[], float],
        on_lead: Callable[[int], Awaitable[None]],
        on_sure: Callable[[], None],
    ) -> None:
        """`clock` is monotonic; `on_lead` is given the term before anything is published in it.

        `on_sure` is called when a leader that had to wait for an answer has one.
        """
        self._engine = engine
        self.url = url
        """Where other replicas reach this one."""
        self.clock = clock
        self._on_lead = on_lead
        self._on_sure = on_sure
        self._holder = secrets.token_hex(8)
        self._connection: AsyncConnection | None = None
        self._has_lock = False
        self.state: LeadershipState = Standby()
        self.before: Lease | None = None
        """Of the leader before this one, if this one leads and had seen it."""
        self.hand_overs = 0
        """How often this replica began to lead."""
        self._looked_at: float | None = None
        """When the database last told of a lease."""

    @property
    def leads(self) -> bool:
        return isinstance(self.state, Leader)

    @property
    def lease(self) -> Lease | None:
        return self.state.lease

    def may_publish(self) -> bool:
        return may_publish(self.state, self.clock())

    def lease_age_s(self) -> float | None:
        """Seconds since the leader renewed, as far as is known here."""
        if self.lease is None or self._looked_at is None:
            return None
        return self.lease.age_s + self.clock() - self._looked_at

    def leader_url(self) -> str:
        """Where the leader is, if that is somebody else and known."""
        lease = self.state.lease
        return lease.url if lease is not None and not self.leads else ""

    async def run(self) -> None:
        """Look and renew until cancelled."""
        while True:
            started = self.clock()
            step = await self.look()
            if step == "end holder":
                await self._end_holder()
                continue
            pause = RENEW_S if self.leads and self._has_lock else LOOK_S
            await asyncio.sleep(max(0.05, started + pause - self.clock()))

    async def look(self) -> Step:
        """Ask the database once, and be what follows."""
        asked_at = self.clock()
        try:
            async with asyncio.timeout(PATIENCE_S):
                finding = await self._find()
        except Exception as error:
            if not (unavailable(error) or isinstance(error, TimeoutError)):
                log.exception("leadership.look_failed")
            await self._disconnect()
            finding = Away(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        unsure = self.leads and not self.may_publish()
        step = await self._become(finding, asked_at)
        if unsure and self.may_publish():
            self._on_sure()
        return step

    async def outranked(self, term: int, url: str) -> None:
        """A peer says that it leads in `term`: we do not, if ours is lower."""
        await self._become(Outranked(Lease(term, "", url)), self.clock())

    async def _become(self, finding: Finding, asked_at: float) -> Step:
        old = self.state
        if isinstance(finding, HeldLease | Taken):
            self._looked_at = asked_at
        new, step = after(old, finding, asked_at)
        if isinstance(old, Leader) and not isinstance(new, Leader):
            self.state = new
            await self._disconnect()
            log.warning("leadership.ended", term=old.term, now=new.lease and new.lease.term)
        elif isinstance(new, Leader) and not (isinstance(old, Leader) and old.term == new.term):
            await self._lead(old, new)
        else:
            self.state = new
        return step

    async def _lead(self, old: LeadershipState, new: Leader) -> None:
        """Begin to lead; what the leader before left has to be read first."""
        try:
            await self._on_lead(new.term)
        except Exception as error:
            if not unavailable(error):
                log.exception("leadership.start_failed", term=new.term)
            self.state = Standby(new.lease)
            await self._disconnect()
            return
        self.before, self.state = old.lease, new
        self.hand_overs += 1
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
        """Whether lock and lease are ours now: taken, taken again, or renewed."""
        about: dict[str, object] = {"holder": self._holder, "url": self.url}
        if isinstance(self.state, Leader):
            about["term"] = self.state.term
        if self._has_lock:
            statement = _RENEW
        else:
            about["lock"] = LEADER_LOCK
            statement = _RETAKE if isinstance(self.state, Leader) else _ACQUIRE
        return (await connection.execute(statement, about)).one_or_none() is not None

    async def _end_holder(self) -> None:
        """End the session that has the lock, if its lease is stale or our own."""
        values = {"high": _HIGH, "low": _LOW, "holder": self._holder, "stale": STALE_S}
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE_S):
                connection = self._connection or await self._connect()
                ended = (await connection.execute(_END_HOLDER, values)).all()
                if ended:
                    log.warning("leadership.session_ended", sessions=len(ended))
        await asyncio.sleep(0.05)  # it takes the server a moment

    async def _connect(self) -> AsyncConnection:
        connection = await self._engine.connect()
        self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    async def _disconnect(self) -> None:
        """Close the session, and with it the lock."""
        connection, self._connection, self._has_lock = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(PATIENCE_S):
                    await connection.invalidate()
                    await connection.close()

    async def resign(self) -> None:
        """Leave, so that another leads at once."""
        self.state = Standby(self.state.lease)
        await self._disconnect()
