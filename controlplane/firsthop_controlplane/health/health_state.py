"""What probers and machines last said, and the status that follows from it. No clock, no store.

`judgement` decides who is up; this module knows whose reports come in order, since when a verdict
stands, how far a relay's slow start has come, and whether a change is urgent (who is up) or only
news (how loaded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firsthop_controlplane.health.last_reports import LastReports, Received
from firsthop_controlplane.health.recheck import RecheckRequests
from firsthop_controlplane.health.transceiver_health import TransceiverHealth
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import Opinion, Verdicts
from firsthop_steering.feed.reports import ProbeReport, RelayReport
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.slow_start import share
from firsthop_steering.plan.model import Relay

_NONE = timedelta(0)


@dataclass(slots=True)
class HealthState:
    """Everything heard since the start, on top of the standings that the run before left."""

    judgement: Verdicts
    started_at: datetime
    report_stale_after_s: float
    settle_s: float
    standings: dict[str, Verdict] = field(default_factory=dict)
    hearing: LastReports[RelayReport] = field(init=False)
    """Agents."""
    attendance: TransceiverHealth = field(init=False)
    """Transceivers."""
    nudges: RecheckRequests = field(default_factory=RecheckRequests)
    _reported: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _inherited: set[str] = field(default_factory=set)
    _returned: dict[str, datetime] = field(default_factory=dict)
    """Since when a relay that was down is up again, while it starts slowly."""
    _evaluated_at: datetime | None = None

    def __post_init__(self) -> None:
        self.hearing = LastReports(self.started_at, self.report_stale_after_s)
        self.attendance = TransceiverHealth(
            self.started_at, self.report_stale_after_s, self.judgement.shares
        )

    @property
    def heard(self) -> dict[str, Received[RelayReport]]:
        """Each agent's last report."""
        return self.hearing.heard

    def inherit(
        self, standings: Mapping[str, Verdict], heard: Mapping[str, Received[RelayReport]]
    ) -> None:
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
        """Take an agent's word in place of its last; False when it is older than that."""
        last = self.heard.get(relay)
        if not self.hearing.receive(relay, report, now):
            return False
        crashed = last is not None and last.report.crashed
        if report.crashed != crashed:
            self.nudges.nudge(relay, now.timestamp())
        return True

    def evaluate(self, relays: Iterable[Relay], now: datetime) -> set[str]:
        """Judge every relay again; those whose verdict turned."""
        present = {relay.id: relay for relay in relays}
        for gone in self.standings.keys() - present.keys():
            del self.standings[gone]
        self.hearing.forget_all_but(present)
        self.hearing.follow_clock(now)
        self.nudges.forget_all_but(present)
        silence = {name: self.hearing.silence_s(name, now) for name in self.heard}
        self.nudges.listen(silence, now.timestamp())
        opinions = self.judgement.judge(
            present,
            {
                name: Opinion(standing.verdict, standing.reason, standing.families)
                for name, standing in self.standings.items()
            },
            settling=self._settling(now),
            now=now,
        )
        self._follow_clock(now)
        turned = {name for name, opinion in opinions.items() if self._stand(name, opinion, now)}
        self._end_slow_starts(present, now)
        return turned

    def _stand(self, name: str, opinion: Opinion, now: datetime) -> bool:
        """Take over an opinion; whether it turned the verdict."""
        verdict, reason, families = opinion
        standing = self.standings.get(name)
        if standing is None or standing.verdict != verdict:
            self.standings[name] = Verdict(verdict, now, reason, families)
            if verdict == "up" and standing is not None and standing.verdict == "down":
                self._returned[name] = now
            return True
        if (standing.reason, standing.families) != (reason, families):
            self.standings[name] = Verdict(verdict, standing.since, reason, families)
        return False

    def _follow_clock(self, now: datetime) -> None:
        """When the clock is set back slow starts go on from where they are: none takes longer."""
        if self._evaluated_at is not None and now < self._evaluated_at:
            step = self._evaluated_at - now
            self._returned = {name: at - step for name, at in self._returned.items()}
        self._evaluated_at = now

    def _end_slow_starts(self, present: Mapping[str, Relay], now: datetime) -> None:
        for name in list(self._returned):
            standing = self.standings.get(name)
            is_up = standing is not None and standing.verdict == "up"
            if not is_up or self._share(present[name], now) == 100:
                del self._returned[name]

    def _share(self, relay: Relay, now: datetime) -> int:
        returned = self._returned.get(relay.id)
        if returned is None:
            return 100
        return share(returned.timestamp(), now.timestamp(), relay.probe.slow_start_s)

    def _settling(self, now: datetime) -> frozenset[str]:
        # A clock that was set back to before the start does not make us young again.
        young = _NONE <= now - self.started_at < timedelta(seconds=self.settle_s)
        return frozenset(self._inherited) if young else frozenset()

    def statuses(self, relays: Iterable[Relay], now: datetime) -> dict[str, RelayStatus]:
        """What edges are told of each relay."""
        return {relay.id: self._status(relay, now) for relay in relays}

    def _status(self, relay: Relay, now: datetime) -> RelayStatus:
        standing = self.standings.get(relay.id)
        measured: dict[str, object] = {}
        if standing:
            measured = {
                "verdict": standing.verdict,
                "since": standing.since,
                "reason": standing.reason,
                "families": standing.families,
                "vantages": self.judgement.words(relay.id),
                "share": self._share(relay, now),
            }
        heard = self.hearing.fresh(relay.id, now)
        if heard is None:
            return RelayStatus.model_validate(measured)
        report = heard.report
        load = report.sessions / relay.capacity if relay.capacity else None
        return RelayStatus.model_validate(
            {
                **measured,
                "draining": report.draining,
                "stops_at": report.stops_at,
                "crashed": report.crashed,
                "sessions": report.sessions,
                "load": load,
                "reported_at": heard.received_at,
            }
        )


Clock = Callable[[], datetime]


def urgent(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus], *, local: bool) -> bool:
    """Whether edges must know at once: another verdict, share, or notice of its agent.

    What single vantages say is urgent where some edge decides by it (`local`).
    """
    return {name: steers(each, local=local) for name, each in old.items()} != {
        name: steers(each, local=local) for name, each in new.items()
    }


def steers(status: RelayStatus, *, local: bool) -> tuple[object, ...]:
    """All of a relay's status that answers depend on."""
    return (
        status.verdict,
        status.families,
        status.share,
        status.draining,
        status.stops_at,
        status.crashed,
        status.vantages if local else None,
    )


_QUIET = frozenset({"reason", "reported_at"})


def news(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus]) -> bool:
    """Whether anything but the sentence of a reason and the time of a report is different."""
    return {name: _told(each) for name, each in old.items()} != {
        name: _told(each) for name, each in new.items()
    }


def _told(status: RelayStatus) -> dict[str, object]:
    return {name: value for name, value in vars(status).items() if name not in _QUIET}
