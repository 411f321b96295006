"""What machines last said of themselves: taken in order, and counted while it is fresh.

Agents speak for relays, transceivers for themselves; what follows from it is for others to judge.
No clock, no store.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from firsthop_steering.feed.reports import Report

R = TypeVar("R", bound=Report)
_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Received(Generic[R]):
    """A machine's last report, and when it came by our clock."""

    report: R
    received_at: datetime


class LastReports(Generic[R]):
    """The last report of each machine of one kind."""

    def __init__(self, started_at: datetime, stale_after_s: float) -> None:
        """A report counts for `stale_after_s`. Nobody is silent for longer than we listen."""
        self.heard: dict[str, Received[R]] = {}
        self._started_at = started_at
        self._stale_after = timedelta(seconds=stale_after_s)
        self._looked_at: datetime | None = None

    def receive(self, name: str, report: R, now: datetime) -> bool:
        """Take a machine's word in place of its last; False when it is older than that.

        Sequences start again with the machine: a lower one counts when it was sent later.
        """
        last = self.heard.get(name)
        if last is not None:
            before = (last.report.sequence, last.report.sent_at)
            if report.sequence <= before[0] and report.sent_at <= before[1]:
                return False
        self.heard[name] = Received(report, now)
        return True

    def forget_all_but(self, present: Container[str]) -> None:
        """Machines that are no more."""
        self.heard = {name: each for name, each in self.heard.items() if name in present}

    def follow_clock(self, now: datetime) -> None:
        """When the clock is set back ages go on from where they are: nobody is fresh for longer."""
        if self._looked_at is not None and now < self._looked_at:
            step = self._looked_at - now
            self.heard = {
                name: replace(each, received_at=each.received_at - step)
                for name, each in self.heard.items()
            }
            self._started_at -= step
        self._looked_at = now

    def silence_s(self, name: str, now: datetime) -> float:
        """Since a machine that was heard spoke last.

        Who was heard by the leader before us has had no time to speak to us.
        """
        return (now - max(self.heard[name].received_at, self._started_at)).total_seconds()

    def speaks(self, name: str) -> bool:
        """Whether a machine that was heard has spoken to us, and not only to who led before."""
        return self.heard[name].received_at >= self._started_at

    def fresh(self, name: str, now: datetime) -> Received[R] | None:
        """The word that counts: for a while, and that it goes down until it has."""
        heard = self.heard.get(name)
        if heard is None:
            return None
        stops_at = heard.report.stops_at
        if stops_at is not None and now < stops_at:
            return heard
        return heard if now - heard.received_at <= self._stale_after else None
