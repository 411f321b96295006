"""The loop that publishes the health state as numbered statuses, on the replica that leads.

It publishes verdicts and drains at once, load at most once per second. It works without the
database; no number is used twice, since every leader numbers within its own term.
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
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.relay_history import RelayHistory
from firsthop_controlplane.health.saved_health import (
    RelayReports,
    RelayVerdicts,
    ReportedTransceivers,
    load_relay_reports,
    load_transceivers,
    load_verdicts,
    save_relay_reports,
    save_transceivers,
    save_verdicts,
)
from firsthop_controlplane.health.status_changes import news, urgent
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import Excluded, Guarded
from firsthop_controlplane.leader.publisher import Publisher
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.ledger import LeaderRow
from firsthop_steering.feed.snapshot import Status

log = structlog.get_logger(__name__)
TICK_S = 1.0
SAVE_S = 1.0


class StatusLoop:
    """Evaluates on every report and every second; `wake` makes it evaluate at once."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        leadership: ReplicaLeadership,
        new_health: Callable[[datetime], HealthState],
        *,
        interval_s: float,
        now: Callable[[], datetime],
        history: RelayHistory,
        is_valid: Callable[[str, datetime], bool],
    ) -> None:
        """`new_health` makes the empty state of a leader that starts at the given time; `is_valid`
        says whether the token with an id is valid at a time."""
        self._is_valid = is_valid
        self._history = history
        self._engine = engine
        self._feed = feed
        self._publisher = Publisher(feed, leadership)
        self._new_health = new_health
        self._interval_s = interval_s
        self._now = now
        self.health = new_health(now())
        """The state of the present leadership; empty while another replica leads."""
        self.evaluated = BroadcastEvent()
        """Notified after every evaluation, which may have requested rechecks."""
        self._wake = asyncio.Event()
        self._save_soon = asyncio.Event()
        self._published_at: datetime | None = None
        self._saved: tuple[RelayVerdicts, RelayReports, ReportedTransceivers] = {}, {}, {}
        """The values in the store."""
        self._guarded: set[Guarded] = set()
        self._excluded: frozenset[Excluded] = frozenset()

    def wake(self) -> None:
        self._wake.set()

    async def lead(self, term: int) -> None:
        """Begin a term with the previous leader's state; raises the database's errors."""
        async with AsyncSession(self._engine) as session:
            verdicts = await load_verdicts(session)
            reports = await load_relay_reports(session)
            transceivers = await load_transceivers(session)
            await self._history.load(session)
        self._saved = verdicts, reports, transceivers
        self.health = self._new_health(self._now())
        self.health.inherit(verdicts, reports)
        self.health.transceivers.inherit(transceivers)
        self._publisher.begin(term)
        self._published_at = None

    async def run(self) -> None:
        """Evaluate until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                self.evaluate()
            except Exception:
                log.exception("status.evaluation_failed")
            self.evaluated.notify()
            # Pause for as long as the evaluation took, so that half of the time is left to
            # everything else, for any number of relays and probers.
            await asyncio.sleep(loop.time() - began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()

    def evaluate(self) -> None:
        """Evaluate all relays and transceivers of the plan; publish a status if one is due."""
        plan, status = self._feed.plan, self._feed.status
        if plan is None or not self._publisher.may_publish():
            return
        now, document = self._now(), plan.document
        health = self.health
        health.keep_only(lambda token: self._is_valid(token, now))
        for name in health.evaluate(document.relays, now):
            self._log_turn(health.verdicts[name], relay=name)
        for name in health.transceivers.evaluate(document.transceivers, now):
            self._log_turn(health.transceivers.verdicts[name], transceiver=name)
        self._log_doubts()
        new = Status(
            number=self._publisher.next_number,
            lineage=plan.lineage,
            created_at=now,
            relays=health.statuses(document.relays, now),
            transceivers=health.transceivers.statuses(document.transceivers, now),
        )
        local = any(service.view == "local" for service in document.services)
        if status is None or self._due(status, new, local=local):
            self._publish(new, local=local)

    def _log_turn(self, verdict: Verdict, **name: str) -> None:
        log.info("verdict.changed", **name, verdict=verdict.verdict, reason=verdict.reason)
        self._save_soon.set()

    def _log_doubts(self) -> None:
        """Log once per change which measurements are not trusted: operators must check them."""
        evaluator = self.health.evaluator
        for each in sorted(evaluator.guarded.keys() - self._guarded):
            log.warning("verdict.guarded", **each._asdict(), reason=evaluator.guarded[each])
        for each in sorted(self._guarded - evaluator.guarded.keys()):
            log.info("verdict.guard_ended", **each._asdict())
        for vantage in sorted(evaluator.excluded - self._excluded):
            hint = "only this vantage sees most relays down"
            log.warning("vantage.excluded", **vantage._asdict(), hint=hint)
        for vantage in sorted(self._excluded - evaluator.excluded):
            log.info("vantage.restored", **vantage._asdict())
        self._guarded, self._excluded = set(evaluator.guarded), evaluator.excluded

    def _due(self, old: Status, new: Status, *, local: bool) -> bool:
        both = (old.relays, new.relays), (old.transceivers, new.transceivers)
        if self._published_at is None or any(urgent(*each, local=local) for each in both):
            return True  # a new leader publishes at once, even if nothing changed
        waited_s = abs((new.created_at - self._published_at).total_seconds())
        return waited_s >= self._interval_s and any(news(*each) for each in both)

    def _publish(self, status: Status, *, local: bool) -> None:
        self._publisher.publish(status)
        self._history.note(status, local=local)
        self._published_at = status.created_at

    async def save_always(self) -> None:
        """Keep the store's copy of verdicts and reports up to date, for the next leader.

        The copy is at most a second old; it is written at once if a verdict turned.
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
        """Write the changes since the last save, unless another replica leads."""
        if not self._publisher.may_publish():
            return
        health, changes = self.health, self._history.pending
        present = (
            dict(health.verdicts),
            dict(health.agents.received),
            health.transceivers.reported(),
        )
        if present == self._saved and not changes:
            return
        async with AsyncSession(self._engine) as session, session.begin():
            if await session.scalar(select(LeaderRow.term)) != self._publisher.term:
                return
            await save_verdicts(session, self._saved[0], present[0])
            await save_relay_reports(session, self._saved[1], present[1])
            await save_transceivers(session, self._saved[2], present[2])
            await self._history.write(session, changes, self._now())
        self._history.written(changes)
        self._saved = present
