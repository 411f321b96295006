"""What probers and agents last said, and the status that follows from it. No clock, no store.

`judgement` decides who is up; this module knows whose reports come in order, since when a verdict
stands, and whether a change is urgent (who is up) or only news (how loaded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firsthop_controlplane.judgement import Judgement
from firsthop_steering.model import Liveness, Relay
from firsthop_steering.reports import ProbeReport, RelayReport
from firsthop_steering.snapshot import RelayStatus

REASON_LIMIT = 500
_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdict on one relay, and since when it is so."""

    verdict: Liveness
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """An agent's last report, and when it came by our clock."""

    report: RelayReport
    received_at: datetime


@dataclass(slots=True)
class Observations:
    """Everything heard since the start, on top of the standings that the run before left."""

    judgement: Judgement
    started_at: datetime
    report_stale_after_s: float
    settle_s: float
    standings: dict[str, Standing] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    _reported: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _inherited: set[str] = field(default_factory=set)

    def inherit(self, standings: Mapping[str, Standing], heard: Mapping[str, Heard]) -> None:
        """Go on where the run before ended."""
        self.standings.update(standings)
        self.heard.update(heard)
        self._inherited.update(standings)

    def receive_results(self, report: ProbeReport, now: datetime) -> bool:
        """Take a prober's views in place of its last ones; False when they are older than those.

        Times are moved onto our clock, so that a prober whose clock is off is not thought stale.
        """
        if self._overtaken(report, now):
            return False
        self.judgement.take(report, ahead_s=(report.sent_at - now).total_seconds())
        self._reported[report.prober] = report.sent_at, now
        return True

    def _overtaken(self, report: ProbeReport, now: datetime) -> bool:
        last = self._reported.get(report.prober)
        if last is None:
            return False
        sent_at, received_at = last
        # A clock that was set back is believed once its old word no longer counts; at once if it
        # was ours, for then the same clock may have set both.
        recent = _NONE <= now - received_at < timedelta(seconds=self.judgement.stale_after_s)
        return recent and report.sent_at < sent_at

    def receive_report(self, relay: str, report: RelayReport, now: datetime) -> bool:
        """Take an agent's word in place of its last; False when it is older than that.

        Sequences start again with the agent: a lower one counts when it was sent later.
        """
        last = self.heard.get(relay)
        if last is not None:
            before = (last.report.sequence, last.report.sent_at)
            if report.sequence <= before[0] and report.sent_at <= before[1]:
                return False
        self.heard[relay] = Heard(report, now)
        return True

    def evaluate(self, relays: Iterable[Relay], now: datetime) -> set[str]:
        """Judge every relay again; those whose verdict turned."""
        present = {relay.id: relay for relay in relays}
        for kept in (self.standings, self.heard):
            for gone in kept.keys() - present.keys():
                del kept[gone]
        before = self.standings
        opinions = self.judgement.judge(
            present,
            {name: standing.verdict for name, standing in before.items()},
            settling=self._settling(now),
            now=now,
        )
        turned = set()
        for name, (verdict, reason) in opinions.items():
            standing, reason = before.get(name), reason[:REASON_LIMIT]
            if standing is None or standing.verdict != verdict:
                turned.add(name)
                self.standings[name] = Standing(verdict, now, reason)
            elif standing.reason != reason:
                self.standings[name] = Standing(verdict, standing.since, reason)
        return turned

    def _settling(self, now: datetime) -> frozenset[str]:
        # A clock that was set back to before the start does not make us young again.
        young = _NONE <= now - self.started_at < timedelta(seconds=self.settle_s)
        return frozenset(self._inherited) if young else frozenset()

    def statuses(self, relays: Iterable[Relay], now: datetime) -> dict[str, RelayStatus]:
        """What edges are told of each relay."""
        return {relay.id: self._status(relay, now) for relay in relays}

    def _status(self, relay: Relay, now: datetime) -> RelayStatus:
        standing = self.standings.get(relay.id)
        measured = (
            {"verdict": standing.verdict, "since": standing.since, "reason": standing.reason}
            if standing
            else {}
        )
        heard = self.heard.get(relay.id)
        if heard is None or not self._fresh(heard, now):
            return RelayStatus.model_validate(measured)
        report = heard.report
        load = report.sessions / relay.capacity if relay.capacity else None
        return RelayStatus.model_validate(
            {
                **measured,
                "draining": report.draining,
                "sessions": report.sessions,
                "load": load,
                "reported_at": heard.received_at,
            }
        )

    def _fresh(self, heard: Heard, now: datetime) -> bool:
        return now - heard.received_at <= timedelta(seconds=self.report_stale_after_s)


Clock = Callable[[], datetime]


def urgent(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus]) -> bool:
    """Whether edges must know at once: another verdict, or another wish to drain."""
    return _answers(old) != _answers(new)


def _answers(statuses: Mapping[str, RelayStatus]) -> dict[str, tuple[str, bool]]:
    return {name: (each.verdict, each.draining) for name, each in statuses.items()}


def news(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus]) -> bool:
    """Whether anything but the sentence of a reason and the time of a report is different."""
    quiet = {"reason", "reported_at"}
    return {name: each.model_dump(exclude=quiet) for name, each in old.items()} != {
        name: each.model_dump(exclude=quiet) for name, each in new.items()
    }
