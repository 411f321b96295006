"""The loop that turns what is observed into numbered statuses, at the replica that leads.

Verdicts and drains go out at once, load at most once a second. Goes on while the database is away;
a number is never used twice, since every leader numbers within a term of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.feed.broadcast_event import BroadcastEvent
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.health.health_state import Clock, HealthState, news, urgent
from firsthop_controlplane.health.last_reports import Received
from firsthop_controlplane.health.relay_history import Past
from firsthop_controlplane.health.saved_health import (
    Attended,
    load_attendance,
    save_attendance,
    upsert,
)
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import Excluded, Guarded
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.ledger import LeaderRow, RelayStatusRow, VerdictRow
from firsthop_steering.feed.reports import RelayReport
from firsthop_steering.feed.snapshot import Status

log = structlog.get_logger(__name__)
TICK_S = 1.0
SAVE_S = 1.0


class StatusLoop:
    """Evaluates on every report and every second; `wake` asks for it now."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        observe: Callable[[datetime], HealthState],
        *,
        interval_s: float,
        now: Clock,
        past: Past,
    ) -> None:
        """`observe` makes observations that begin at a time: a new leader knows nothing yet."""
        self._past = past
        self._engine = engine
        self._feed = feed
        self._observe = observe
        self._interval_s = interval_s
        self._now = now
        self.observations = observe(now())
        self.evaluated = BroadcastEvent()
        """Rung after every look at the observations, which may have nudged somebody."""
        self.may_publish: Callable[[], bool] = lambda: False
        """Whether this replica leads, and is sure of it."""
        self._term = 0
        self._number = 0
        """The last one that was used."""
        self._wake = asyncio.Event()
        self._save_soon = asyncio.Event()
        self._published_at: datetime | None = None
        self._saved: dict[str, Verdict] = {}
        self._saved_reports: dict[str, Received[RelayReport]] = {}
        self._saved_attendance: Attended = {}
        self._guarded: set[Guarded] = set()
        self._excluded: frozenset[Excluded] = frozenset()

    def wake(self) -> None:
        self._wake.set()

    async def lead(self, term: int) -> None:
        """Begin a term from what the leader before left; raises what the database raises."""
        async with AsyncSession(self._engine) as session:
            verdicts = (await session.scalars(select(VerdictRow))).all()
            reports = (await session.scalars(select(RelayStatusRow))).all()
            attended = await load_attendance(session)
            await self._past.load(session)
        self._saved = {
            row.relay: Verdict(row.verdict, row.since, row.reason, row.families)  # type: ignore[arg-type]
            for row in verdicts
        }
        self._saved_reports = {
            row.relay: Received(
                RelayReport.model_validate(row.report, extra="ignore"), row.received_at
            )
            for row in reports
        }
        self.observations = self._observe(self._now())
        self.observations.inherit(self._saved, self._saved_reports)
        self.observations.attendance.inherit(attended)
        self._saved_attendance = attended
        self._term, self._number, self._published_at = term, first_number(term), None

    async def run(self) -> None:
        """Evaluate until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                self.evaluate()
            except Exception:
                log.exception("status.evaluation_failed")
            self.evaluated.ring()
            # As long a rest as the look took: many probers of many relays leave half of the time
            # to everything else.
            await asyncio.sleep(loop.time() - began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()

    def evaluate(self) -> None:
        """Judge all relays and transceivers of the plan, and publish a status if one is due."""
        plan, status = self._feed.plan, self._feed.status
        if plan is None or not self.may_publish():
            return
        now, document = self._now(), plan.document
        for name in self.observations.evaluate(document.relays, now):
            self._tell_turned(self.observations.standings[name], relay=name)
        attendance = self.observations.attendance
        for name in attendance.evaluate(document.transceivers, now):
            self._tell_turned(attendance.standings[name], transceiver=name)
        self._tell_doubts()
        new = Status(
            number=self._number + 1,
            lineage=plan.lineage,
            created_at=now,
            relays=self.observations.statuses(document.relays, now),
            transceivers=attendance.statuses(document.transceivers, now),
        )
        local = any(service.view == "local" for service in document.services)
        if status is None or self._due(status, new, local=local):
            self._publish(new, local=local)

    def _tell_turned(self, standing: Verdict, **name: str) -> None:
        log.info("verdict.changed", **name, verdict=standing.verdict, reason=standing.reason)
        self._save_soon.set()

    def _tell_doubts(self) -> None:
        """Where measurements are not believed, operators have to look: once for each change."""
        judgement = self.observations.judgement
        for each in sorted(judgement.guarded.keys() - self._guarded):
            log.warning("verdict.guarded", **each._asdict(), reason=judgement.guarded[each])
        for each in sorted(self._guarded - judgement.guarded.keys()):
            log.info("verdict.guard_ended", **each._asdict())
        for vantage in sorted(judgement.excluded - self._excluded):
            hint = "it sees most relays down, alone"
            log.warning("vantage.excluded", **vantage._asdict(), hint=hint)
        for vantage in sorted(self._excluded - judgement.excluded):
            log.info("vantage.restored", **vantage._asdict())
        self._guarded, self._excluded = set(judgement.guarded), judgement.excluded

    def _due(self, old: Status, new: Status, *, local: bool) -> bool:
        both = (old.relays, new.relays), (old.transceivers, new.transceivers)
        if self._published_at is None or any(urgent(*each, local=local) for each in both):
            return True  # a new leader is heard at once, even if it has no news
        waited_s = abs((new.created_at - self._published_at).total_seconds())
        return waited_s >= self._interval_s and any(news(*each) for each in both)

    def _publish(self, status: Status, *, local: bool) -> None:
        self._number = status.number
        self._feed.publish(status)
        self._past.note(status, local=local)
        self._published_at = status.created_at

    async def save_always(self) -> None:
        """Keep the store's copy of verdicts and reports near ours: who leads next goes on with it.

        Within a second, and at once when a verdict turned.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_S):
                    await self._save_soon.wait()
            self._save_soon.clear()
            try:
                await self.save()
            except Exception as error:
                if not unavailable(error):
                    log.exception("status.save_failed")

    async def save(self) -> None:
        """Write what changed since the last time, unless another leads."""
        if not self.may_publish():
            return
        standings, heard = dict(self.observations.standings), dict(self.observations.heard)
        attended = self.observations.attendance.attended()
        changes = self._past.pending
        saved = self._saved, self._saved_reports, self._saved_attendance
        if (standings, heard, attended) == saved and not changes:
            return
        async with AsyncSession(self._engine) as session, session.begin():
            if await session.scalar(select(LeaderRow.term)) != self._term:
                return
            await _save_verdicts(session, self._saved, standings)
            await _save_reports(session, self._saved_reports, heard)
            await save_attendance(session, self._saved_attendance, attended)
            await self._past.write(session, changes, self._now())
        self._past.written(changes)
        self._saved, self._saved_reports = standings, heard
        self._saved_attendance = attended


async def _save_verdicts(
    session: AsyncSession, old: dict[str, Verdict], new: dict[str, Verdict]
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
    await upsert(session, VerdictRow, rows, old.keys() - new.keys())


async def _save_reports(
    session: AsyncSession,
    old: dict[str, Received[RelayReport]],
    new: dict[str, Received[RelayReport]],
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
    await upsert(session, RelayStatusRow, rows, old.keys() - new.keys())
