"""The last report of each machine: accepted in order, and valid while it is fresh.

Agents report on relays, and transceivers on themselves; other modules make verdicts. This module
has no clock and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from firsthop_steering.feed.reports import Report

R = TypeVar("R", bound=Report)
MAX_STOP_AHEAD = timedelta(hours=24)
"""How far ahead a machine may announce its stop: as long as a credential can be valid."""


@dataclass(frozen=True, slots=True)
class Received(Generic[R]):
    """A machine's last report, and when we received it, by our clock."""

    report: R
    received_at: datetime
    token: str | None = None
    """Id of the token that it was sent with; None: received by an older release."""


class LastReports(Generic[R]):
    """The last report of each machine of one kind."""

    def __init__(self, started_at: datetime, stale_after_s: float) -> None:
        """A report is valid for `stale_after_s`. Silence starts at `started_at` or later."""
        self.received: dict[str, Received[R]] = {}
        self._started_at = started_at
        self._stale_after = timedelta(seconds=stale_after_s)
        self._last_look_at: datetime | None = None

    def receive(self, name: str, report: R, now: datetime, *, token: str) -> bool:
        """Replace a machine's last report; returns False if the new one is older.

        Sequence numbers restart with the machine: a lower one is accepted if it was sent later.
        Only a fresh report that was sent with the same token can be newer, so that no report, with
        whatever number and time, keeps another machine out for longer than it is fresh.
        """
        last = self.received.get(name)
        if last is not None and last.token == token and now - last.received_at <= self._stale_after:
            before = (last.report.sequence, last.report.sent_at)
            if report.sequence <= before[0] and report.sent_at <= before[1]:
                return False
        self.received[name] = Received(report, now, token)
        return True

    def keep_only(self, is_valid: Callable[[str], bool]) -> None:
        """Drop reports that were sent with tokens that are not valid any more."""
        for name, each in list(self.received.items()):
            if each.token is not None and not is_valid(each.token):
                del self.received[name]

    def forget_all_but(self, present: Container[str]) -> None:
        """Drop machines that are no longer configured."""
        self.received = {name: each for name, each in self.received.items() if name in present}

    def follow_clock(self, now: datetime) -> None:
        """If the clock was set back, shift all times by the step, so that ages stay correct."""
        if self._last_look_at is not None and now < self._last_look_at:
            step = self._last_look_at - now
            self.received = {
                name: replace(each, received_at=each.received_at - step)
                for name, each in self.received.items()
            }
            self._started_at -= step
        self._last_look_at = now

    def silence_s(self, name: str, now: datetime) -> float:
        """Seconds since the last report of a machine that has reported.

        For reports that only the previous leader received, seconds since our start: the machine has
        had no time to report to us.
        """
        return (now - max(self.received[name].received_at, self._started_at)).total_seconds()

    def has_reported(self, name: str) -> bool:
        """Whether a known machine has reported to us, and not only to the previous leader."""
        return self.received[name].received_at >= self._started_at

    def fresh(self, name: str, now: datetime) -> Received[R] | None:
        """The last report if it is valid: while fresh, or until the stop that it announces."""
        last = self.received.get(name)
        if last is None:
            return None
        stops_at = last.report.stops_at
        if stops_at is not None and now < min(stops_at, last.received_at + MAX_STOP_AHEAD):
            return last
        return last if now - last.received_at <= self._stale_after else None
