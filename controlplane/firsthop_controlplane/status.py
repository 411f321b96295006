"""The loop that turns what is observed into numbered statuses.

Verdicts and drains go out at once, load at most once a second. Goes on while the database is away,
and never uses a number twice: numbers are reserved in blocks before they are used.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.feed import Feed
from firsthop_controlplane.judgement import Excluded, Guarded
from firsthop_controlplane.observations import Clock, Heard, Observations, Standing, news, urgent
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.ledger import RelayStatusRow, StoreRow, VerdictRow
from firsthop_steering.reports import RelayReport
from firsthop_steering.snapshot import Plan, RelayStatus, Status

log = structlog.get_logger(__name__)
BLOCK = 100_000
"""Numbers reserved at a time: at a status a second, a day without the database."""
TICK_S = 1.0
SAVE_S = 1.0
ROWS_AT_ONCE = 1000
"""A statement has at most 32,767 parameters."""


@dataclass(slots=True)
class Numbers:
    """The numbers that may be used: `next` up to and with `last`."""

    next: int = 0
    last: int = -1

    @property
    def left(self) -> int:
        return self.last - self.next + 1

    def take(self) -> int | None:
        if self.left <= 0:
            return None
        self.next += 1
        return self.next - 1


class StatusLoop:
    """Evaluates on every report and every second; `wake` asks for it now."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        observations: Observations,
        *,
        interval_s: float,
        now: Clock,
    ) -> None:
        self._engine = engine
        self._feed = feed
        self._observations = observations
        self._interval_s = interval_s
        self._now = now
        self._numbers = Numbers()
        self._wake = asyncio.Event()
        self._published_at: datetime | None = None
        self._saved: dict[str, Standing] = {}
        self._saved_reports: dict[str, Heard] = {}
        self._exhausted = False
        self._guarded: set[Guarded] = set()
        self._excluded: frozenset[Excluded] = frozenset()

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        """Read what the run before left, and reserve the first numbers."""
        async with AsyncSession(self._engine) as session:
            verdicts = (await session.scalars(select(VerdictRow))).all()
            reports = (await session.scalars(select(RelayStatusRow))).all()
        self._saved = {
            row.relay: Standing(row.verdict, row.since, row.reason, row.families)  # type: ignore[arg-type]
            for row in verdicts
        }
        self._saved_reports = {
            row.relay: Heard(RelayReport.model_validate(row.report), row.received_at)
            for row in reports
        }
        self._observations.inherit(self._saved, self._saved_reports)
        await self._reserve()

    async def _reserve(self) -> None:
        """Take the next block; numbers go on by one unless another process took one between."""
        if self._numbers.left > BLOCK // 2:
            return
        raised = (
            update(StoreRow)
            .values(status_number=StoreRow.status_number + BLOCK)
            .returning(StoreRow.status_number)
        )
        async with AsyncSession(self._engine) as session, session.begin():
            last = (await session.execute(raised)).scalar_one()
        contiguous = last - BLOCK == self._numbers.last
        self._numbers = Numbers(self._numbers.next if contiguous else last - BLOCK + 1, last)
        self._exhausted = False

    async def give_back(self) -> None:
        """Return the unused numbers, if nobody reserved after us: they stay small then."""
        used = self._numbers.next - 1
        mine = StoreRow.status_number == self._numbers.last
        with contextlib.suppress(Exception):
            async with AsyncSession(self._engine) as session, session.begin():
                await session.execute(update(StoreRow).where(mine).values(status_number=used))
        self._numbers = Numbers()

    async def run(self) -> None:
        """Evaluate until cancelled."""
        while True:
            try:
                self.evaluate()
            except Exception:
                log.exception("status.evaluation_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()

    def evaluate(self) -> None:
        """Judge all relays of the present plan, and publish a status if one is due."""
        plan, status = self._feed.plan, self._feed.status
        if plan is None:
            return
        now = self._now()
        for name in self._observations.evaluate(plan.document.relays, now):
            standing = self._observations.standings[name]
            log.info("verdict.turned", relay=name, verdict=standing.verdict, reason=standing.reason)
        self._tell_doubts()
        relays = self._observations.statuses(plan.document.relays, now)
        local = any(service.view == "local" for service in plan.document.services)
        if (
            status is None
            or urgent(status.relays, relays, local=local)
            or self._is_news(status.relays, relays, now)
        ):
            self._publish(plan, relays, now)

    def _tell_doubts(self) -> None:
        """Where measurements are not believed, operators have to look: once for each change."""
        judgement = self._observations.judgement
        for each in sorted(judgement.guarded.keys() - self._guarded):
            log.warning("verdict.guarded", **each._asdict(), reason=judgement.guarded[each])
        for each in sorted(self._guarded - judgement.guarded.keys()):
            log.info("verdict.guard_ended", **each._asdict())
        for vantage in sorted(judgement.excluded - self._excluded):
            hint = "it sees most relays down, alone"
            log.warning("vantage.excluded", **vantage._asdict(), hint=hint)
        for vantage in sorted(self._excluded - judgement.excluded):
            log.info("vantage.counts_again", **vantage._asdict())
        self._guarded, self._excluded = set(judgement.guarded), judgement.excluded

    def _is_news(
        self, old: dict[str, RelayStatus], new: dict[str, RelayStatus], now: datetime
    ) -> bool:
        waited = self._published_at is None or (
            abs((now - self._published_at).total_seconds()) >= self._interval_s
        )
        return waited and news(old, new)

    def _publish(self, plan: Plan, relays: dict[str, RelayStatus], now: datetime) -> None:
        number = self._numbers.take()
        if number is None:
            if not self._exhausted:
                log.error("status.numbers_used_up", hint="the database has been away for long")
            self._exhausted = True
            return
        self._feed.publish(
            Status(number=number, lineage=plan.lineage, created_at=now, relays=relays)
        )
        self._published_at = now

    async def save_always(self) -> None:
        """Keep the store's copy of verdicts and reports near ours, whenever it can be reached."""
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self.save()
                await self._reserve()
            except Exception as error:
                if not unavailable(error):
                    log.exception("status.save_failed")

    async def save(self) -> None:
        """Write what changed since the last time."""
        standings, heard = dict(self._observations.standings), dict(self._observations.heard)
        if standings == self._saved and heard == self._saved_reports:
            return
        async with AsyncSession(self._engine) as session, session.begin():
            await _save_verdicts(session, self._saved, standings)
            await _save_reports(session, self._saved_reports, heard)
        self._saved, self._saved_reports = standings, heard


async def _save_verdicts(
    session: AsyncSession, old: dict[str, Standing], new: dict[str, Standing]
) -> None:
    rows = [
        {
            "relay": name,
            "verdict": each.verdict,
            "since": each.since,
            "reason": each.reason,
            "families": dict(each.families),
        }
        for name, each in sorted(new.items())
        if old.get(name) != each
    ]
    await _upsert(session, VerdictRow, rows, old.keys() - new.keys())


async def _save_reports(
    session: AsyncSession, old: dict[str, Heard], new: dict[str, Heard]
) -> None:
    rows = [
        {
            "relay": name,
            "received_at": each.received_at,
            "report": each.report.model_dump(mode="json"),
        }
        for name, each in sorted(new.items())
        if old.get(name) != each
    ]
    await _upsert(session, RelayStatusRow, rows, old.keys() - new.keys())


async def _upsert(
    session: AsyncSession,
    table: type[VerdictRow] | type[RelayStatusRow],
    rows: list[dict[str, object]],
    gone: set[str],
) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(table).values(rows[start : start + ROWS_AT_ONCE])
        changed = {name: statement.excluded[name] for name in rows[0] if name != "relay"}
        await session.execute(
            statement.on_conflict_do_update(index_elements=["relay"], set_=changed)
        )
    if gone:
        await session.execute(delete(table).where(table.relay.in_(sorted(gone))))
