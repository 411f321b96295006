"""The health of all relays and transceivers under one leader, and the resulting status.

`VerdictEvaluator` makes the verdicts; this module checks the order of reports, and tracks since
when a verdict holds and how far a relay's slow start is. It has no clock and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firsthop_controlplane.health.last_reports import LastReports, Received
from firsthop_controlplane.health.recheck import RecheckRequests
from firsthop_controlplane.health.transceiver_health import TransceiverHealth
from firsthop_controlplane.health.vantage_views import ReportingProber
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, RelayReport
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.slow_start import share
from firsthop_steering.plan.model import Relay

_NONE = timedelta(0)
MAX_PROBERS = 8
"""Number of probers that may report with one token; a further one replaces the longest silent."""
FORGET_PROBERS_AFTER = timedelta(minutes=10)
"""A prober that has been silent for this time while another one reported is forgotten."""


@dataclass(slots=True)
class HealthState:
    """Everything received since the start, on top of the verdicts of the previous leader."""

    evaluator: VerdictEvaluator
    started_at: datetime
    report_stale_after_s: float
    settle_s: float
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """The verdict on each relay."""
    agents: LastReports[RelayReport] = field(init=False)
    transceivers: TransceiverHealth = field(init=False)
    rechecks: RecheckRequests = field(default_factory=RecheckRequests)
    _probers: dict[ReportingProber, tuple[datetime, datetime]] = field(default_factory=dict)
    """When each prober sent its last report, by its clock, and when we received it, by ours."""
    _inherited: set[str] = field(default_factory=set)
    """Relays whose verdict comes from the previous leader."""
    _returned: dict[str, datetime] = field(default_factory=dict)
    """Relays in slow start: when each turned from down to up."""
    _evaluated_at: datetime | None = None

    def __post_init__(self) -> None:
        self.agents = LastReports(self.started_at, self.report_stale_after_s)
        self.transceivers = TransceiverHealth(
            self.started_at, self.report_stale_after_s, self.evaluator.shares
        )

    def inherit(
        self, verdicts: Mapping[str, Verdict], reports: Mapping[str, Received[RelayReport]]
    ) -> None:
        """Continue from the verdicts and reports of the previous leader."""
        self.verdicts.update(verdicts)
        self.agents.received.update(reports)
        self._inherited.update(verdicts)

    def receive_results(self, report: ProbeReport, now: datetime, *, token: str) -> bool:
        """Replace a part of a prober's previous report; returns False if that one was newer.

        `token` is the id of the token that it was sent with. Times are shifted to our clock, so
        that views do not seem stale if the prober's is wrong.
        """
        prober = ReportingProber(token, report.prober)
        if self._is_overtaken(prober, report, now):
            return False
        self._make_room(prober)
        self.evaluator.take(report, prober, ahead_s=(report.sent_at - now).total_seconds())
        self._probers[prober] = report.sent_at, now
        return True

    def _make_room(self, prober: ReportingProber) -> None:
        """Forget the longest silent of the token's other probers if they are too many."""
        others = [each for each in self._probers if each.token == prober.token and each != prober]
        if len(others) >= MAX_PROBERS:
            self._forget(min(others, key=lambda each: self._probers[each][1]))

    def _forget(self, prober: ReportingProber) -> None:
        self.evaluator.forget(prober)
        del self._probers[prober]

    def _is_overtaken(self, prober: ReportingProber, report: ProbeReport, now: datetime) -> bool:
        last = self._probers.get(prober)
        if last is None:
            return False
        sent_at, received_at = last
        # If a prober's clock was set back, we accept its reports again once the last one is stale;
        # at once if ours was set back too, since the two may be the same clock.
        recent = _NONE <= now - received_at < timedelta(seconds=self.evaluator.stale_after_s)
        return recent and report.sent_at < sent_at

    def receive_report(self, relay: str, report: RelayReport, now: datetime, *, token: str) -> bool:
        """Replace an agent's last report; returns False if that one was newer."""
        last = self.agents.received.get(relay)
        if not self.agents.receive(relay, report, now, token=token):
            return False
        crashed = last is not None and last.report.crashed
        if report.crashed != crashed:
            self.rechecks.request(relay, now.timestamp())
        return True

    def keep_only(self, is_valid: Callable[[str], bool]) -> None:
        """Drop what was sent with tokens that are not valid any more; forget silent probers."""
        self.agents.keep_only(is_valid)
        self.transceivers.reports.keep_only(is_valid)
        newest = max((at for _, at in self._probers.values()), default=None)
        for prober, (_, at) in list(self._probers.items()):
            is_silent = newest is not None and newest - at > FORGET_PROBERS_AFTER
            if is_silent or not is_valid(prober.token):
                self._forget(prober)

    def evaluate(self, relays: Iterable[Relay], now: datetime) -> set[str]:
        """Evaluate every relay; returns those whose verdict turned."""
        present = {relay.id: relay for relay in relays}
        for gone in self.verdicts.keys() - present.keys():
            del self.verdicts[gone]
        self.agents.forget_all_but(present)
        self.agents.follow_clock(now)
        self.rechecks.forget_all_but(present)
        silence = {name: self.agents.silence_s(name, now) for name in self.agents.received}
        self.rechecks.update(silence, now.timestamp())
        found = self.evaluator.evaluate(
            present, self.verdicts, settling=self._settling(now), now=now
        )
        self._follow_clock(now)
        turned = {name for name, verdict in found.items() if self._set(name, verdict)}
        self._end_slow_starts(present, now)
        return turned

    def _set(self, name: str, verdict: Verdict) -> bool:
        """Store a verdict; returns whether it turned."""
        before = self.verdicts.get(name)
        self.verdicts[name] = verdict
        if before is not None and before.verdict == verdict.verdict:
            return False
        if before is not None and (before.verdict, verdict.verdict) == ("down", "up"):
            self._returned[name] = verdict.since
        return True

    def _follow_clock(self, now: datetime) -> None:
        """If the clock was set back, shift slow starts back too, so that none takes longer."""
        if self._evaluated_at is not None and now < self._evaluated_at:
            step = self._evaluated_at - now
            self._returned = {name: at - step for name, at in self._returned.items()}
        self._evaluated_at = now

    def _end_slow_starts(self, present: Mapping[str, Relay], now: datetime) -> None:
        for name in list(self._returned):
            verdict = self.verdicts.get(name)
            is_up = verdict is not None and verdict.verdict == "up"
            if not is_up or self._share(present[name], now) == 100:
                del self._returned[name]

    def _share(self, relay: Relay, now: datetime) -> int:
        """The percentage of its weight that a relay has during its slow start."""
        returned = self._returned.get(relay.id)
        if returned is None:
            return 100
        return share(returned.timestamp(), now.timestamp(), relay.probe.slow_start_s)

    def _settling(self, now: datetime) -> frozenset[str]:
        """Relays that keep the inherited verdict until every prober has had time to report."""
        # If the clock was set back to before the start, nothing settles again.
        young = _NONE <= now - self.started_at < timedelta(seconds=self.settle_s)
        return frozenset(self._inherited) if young else frozenset()

    def statuses(self, relays: Iterable[Relay], now: datetime) -> dict[str, RelayStatus]:
        """The published status of each relay."""
        return {relay.id: self._status(relay, now) for relay in relays}

    def _status(self, relay: Relay, now: datetime) -> RelayStatus:
        verdict = self.verdicts.get(relay.id)
        measured: dict[str, object] = {}
        if verdict:
            measured = {
                "verdict": verdict.verdict,
                "since": verdict.since,
                "reason": verdict.reason,
                "families": verdict.families,
                "vantages": self.evaluator.views(relay.id),
                "share": self._share(relay, now),
            }
        last = self.agents.fresh(relay.id, now)
        if last is None:
            return RelayStatus.model_validate(measured)
        report = last.report
        load = report.sessions / relay.capacity if relay.capacity else None
        return RelayStatus.model_validate(
            {
                **measured,
                "draining": report.draining,
                "stops_at": report.stops_at,
                "crashed": report.crashed,
                "sessions": report.sessions,
                "load": load,
                "reported_at": last.received_at,
            }
        )
