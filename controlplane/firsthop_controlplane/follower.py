"""Follows changes of the store: plans, keys and tokens, with NOTIFY and polling.

While the database cannot be reached, the values last read stay in force.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import asyncpg
import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.access.keyring import Keyring, store_row
from firsthop_controlplane.access.tokens import TokenBook
from firsthop_controlplane.configuration.revisions import CHANNEL, newest_number
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.store.engine import failure, unavailable
from firsthop_controlplane.store.ledger import AuditRow, RevisionRow
from firsthop_steering.feed.snapshot import KeySet, Plan, Status
from firsthop_steering.plan.document import Document

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreReachability:
    """Whether the store answered the last query, and if not, why."""

    ok: bool
    reason: str = ""


class StoreFollower:
    """Keeps a feed and a token book up to date with the store."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        keyring: Keyring,
        tokens: TokenBook,
        *,
        poll_s: float,
        on_change: Callable[[], None],
        publish: Callable[[Plan, KeySet, Status | None], None],
    ) -> None:
        """`on_change` is called for every new plan, and after tokens were read again."""
        self._engine = engine
        self._feed = feed
        self._keyring = keyring
        self._tokens = tokens
        self._poll_s = poll_s
        self._on_change = on_change
        self._publish = publish
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._seen_audit = -1
        self.store = StoreReachability(False, "not asked yet")

    async def refresh(self) -> None:
        """Read what is new; raises the database's errors."""
        async with self._lock, AsyncSession(self._engine) as session:
            before = self._feed.plan, self._feed.keys
            await self._read_plan(session)
            # Every change of tokens or keys is audited, so a newer entry may mean one.
            newest = await session.scalar(select(func.max(AuditRow.id))) or 0
            if newest != self._seen_audit:
                await self._tokens.load(session)
                self._on_change()
                await self._read_keys(session)
                self._seen_audit = newest
            plan, keys = self._feed.plan, self._feed.keys
            if plan is not None and keys is not None and before != (plan, keys):
                self._publish(plan, keys, self._feed.status)
        self.store = StoreReachability(True)

    async def _read_plan(self, session: AsyncSession) -> None:
        present = self._feed.plan
        number = await newest_number(session)
        if present is not None and number <= present.number:
            return
        store = await store_row(session)
        row = await session.get(RevisionRow, number) if number else None
        document = Document.model_validate(row.document) if row else Document()
        self._feed.publish(
            Plan(
                number=number,
                lineage=store.lineage,
                created_at=max(row.created_at, store.created_at) if row else store.created_at,
                document=document,
            )
        )
        self._on_change()

    async def _read_keys(self, session: AsyncSession) -> None:
        keys = await self._keyring.load(session)
        present = self._feed.keys
        if keys is not None and (present is None or keys.number > present.number):
            self._feed.publish(keys)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with self._listening() as connection:
                    while not connection.is_closed():
                        await self.refresh()
                        await self._wait()
            except Exception as error:
                if not unavailable(error):
                    log.exception("store.follow_failed")
                self._lost(error)
                await self._wait()

    def _lost(self, error: Exception) -> None:
        reason = failure(error)
        if self.store.ok:
            log.warning("store.lost", reason=reason)
        self.store = StoreReachability(False, reason)

    async def _wait(self) -> None:
        """Wait until a notification arrives, or the next poll is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        self._wake.clear()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[asyncpg.Connection]:
        """Wake up at every NOTIFY; a lost notification is noticed by the next poll."""

        def notified(*_: object) -> None:
            self._wake.set()

        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: asyncpg.Connection = raw.driver_connection
            await connection.rollback()
            await driver.add_listener(CHANNEL, notified)
            try:
                yield driver
            finally:
                with contextlib.suppress(Exception):
                    await driver.remove_listener(CHANNEL, notified)
                await connection.invalidate()
