"""Watches one target: checks it on its own schedule, and keeps the resulting view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.probes import Failed, Passed, ProbeCheck, Unable
from firsthop_healthchecks.schedule import Schedule
from firsthop_steering.feed.reports import ProbeTarget, VantageView
from firsthop_steering.health.verdicts import Streak, observe

FIRST_CHECK_WITHIN_S = 1.0
CLOSE_LOOK_S = 0.2
"""Seconds between checks of a target after a recheck was requested."""
REASON_LENGTH = 200  # VantageView.reason

log = structlog.get_logger("firsthop.prober")


class Watch:
    """Checks one target between `start` and `stop`; `view` is the result."""

    def __init__(
        self,
        target: ProbeTarget,
        *,
        probe: Callable[[ProbeTarget], ProbeCheck],
        turned: Callable[[], None],
        key: str,
        start: float,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """`probe` returns the probe for a target; `turned` is called when the verdict changes.

        Checks follow the `Schedule` of `key` from `start` (loop time) on.
        """
        self.target = target
        self.streak = Streak()
        self._probe = probe
        self._turned = turned
        self._wall = wall
        self._key = key
        self._start = start
        self._since: datetime | None = None
        self._checked_at: datetime | None = None
        self._duration_ms: float | None = None
        self._certificate_ends: datetime | None = None
        self._reason = ""
        self._unable = ""
        self._noted = float("-inf")
        """Start of the latest check that was taken into account."""
        self._task: asyncio.Task[None] | None = None
        self._recheck_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Check within a second, and then in every round.

        With an interval above a second, the first checks are a second apart.
        """
        self._task = asyncio.create_task(self._run())

    def stop(self) -> asyncio.Task[None] | None:
        """Stop checking; returns the task to wait for, if it was started."""
        if self._recheck_task is not None:
            self._recheck_task.cancel()
        if self._task is not None:
            self._task.cancel()
        return self._task

    def retarget(self, target: ProbeTarget) -> None:
        """Apply a changed target; a new kind, address or port starts from unknown."""
        before, self.target = self.target, target
        if _destination(target) != _destination(before):
            self.streak = Streak()
            self._since = self._checked_at = self._duration_ms = self._certificate_ends = None
            self._reason = ""
        if target.interval_s != before.interval_s and self._task is not None:
            self.stop()
            self.start()
        busy = self._recheck_task is not None and not self._recheck_task.done()
        nudged = target.nudge not in (0, before.nudge)
        if nudged and self._task is not None and not busy:
            self._recheck_task = asyncio.create_task(self._recheck())

    async def _recheck(self) -> None:
        """Check every 0.2 s until the verdict is settled, beside the scheduled rounds."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.target.rise + self.target.fall):
                check = group.create_task(self.check())
                await asyncio.wait({check}, timeout=CLOSE_LOOK_S)
                if check.done() and not self.streak.against and self.streak.verdict != "unknown":
                    return

    def view(self) -> VantageView | None:
        """The view so far; None before the first check."""
        if self._since is None or self._checked_at is None:
            return None
        return VantageView(
            relay=self.target.relay,
            family=self.target.family,
            verdict=self.streak.verdict,
            since=self._since,
            checked_at=self._checked_at,
            duration_ms=self._duration_ms,
            certificate_ends=self._certificate_ends,
            reason=self._reason,
        )

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        interval_s = self.target.interval_s
        schedule = Schedule.of(self._key, start=self._start, interval_s=interval_s)
        if interval_s > FIRST_CHECK_WITHIN_S:
            await asyncio.sleep(schedule.phase * FIRST_CHECK_WITHIN_S)
            await self._check_until_known()
        number = -1
        while True:
            now = loop.time()
            number = schedule.next_round(number, now)
            await asyncio.sleep(schedule.at(number) - now)
            await self.check()

    async def _check_until_known(self) -> None:
        """Check every second at first, so rarely checked targets are not unknown for long."""
        for _ in range(self.target.fall - 1):
            await self.check()
            if self.streak.verdict != "unknown":
                return
            await asyncio.sleep(FIRST_CHECK_WITHIN_S)
        await self.check()

    async def check(self) -> None:
        """Check once and note the result, unless the target's address has changed meanwhile.

        Rechecks overlap: the result of a check that began before the latest noted one is dropped,
        as it is out of date.
        """
        target, began = self.target, asyncio.get_running_loop().time()
        try:
            outcome = await self._probe(target).check(target)
        except Exception:
            # A fault of the prober, not of the target: there is no result, and other checks go on.
            log.exception(
                "probe.failed", relay=target.relay, family=target.family, kind=target.kind
            )
            return
        if isinstance(outcome, Unable):
            self._log_unable(outcome.reason)
        elif _destination(target) == _destination(self.target) and began >= self._noted:
            self._unable, self._noted = "", began
            self._note(outcome)

    def _log_unable(self, reason: str) -> None:
        """Log each cause once; the view becomes stale by itself, and then does not count."""
        if reason != self._unable:
            self._unable = reason
            relay, family = self.target.relay, self.target.family
            log.warning("probe.unable", relay=relay, family=family, reason=reason)

    def _note(self, outcome: Passed | Failed) -> None:
        now = self._wall()
        passed = isinstance(outcome, Passed)
        before = self.streak.verdict
        self.streak = observe(self.streak, passed, self.target.rise, self.target.fall)
        self._checked_at = now
        if isinstance(outcome, Passed):
            self._duration_ms, self._reason = outcome.duration_ms, ""
            self._certificate_ends = outcome.certificate_ends
        else:
            self._reason = outcome.reason[:REASON_LENGTH]
        if self._since is None or self.streak.verdict != before:
            self._since = now
        if self.streak.verdict != before:
            self._turned()
            if "down" in (before, self.streak.verdict):
                view, target = self.streak.verdict, self.target
                log.info(
                    "view.changed",
                    relay=target.relay,
                    family=target.family,
                    view=view,
                    reason=self._reason,
                )


def _destination(target: ProbeTarget) -> tuple[object, ...]:
    return target.kind, target.address, target.port
