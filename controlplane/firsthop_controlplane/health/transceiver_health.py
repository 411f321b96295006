"""Verdicts on transceivers, from their own reports: nothing probes them. No clock, no store.

A transceiver that reports is up; it is down if it has been silent for too long, or has stopped as
announced. One that has never reported is unknown; but if it registered itself, it is down, since
it must report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from firsthop_controlplane.health.depool_guard import DepoolGuard
from firsthop_controlplane.health.last_reports import LastReports, Received
from firsthop_controlplane.health.recheck import SILENT_AFTER_S
from firsthop_controlplane.health.verdict import Verdict
from firsthop_steering.feed.reports import TransceiverReport
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Liveness, State, Transceiver

GONE_AFTER = timedelta(hours=24)
"""Longer than any session whose credential names it: a credential is valid for at most a day."""
SURE_AFTER = timedelta(minutes=10)
"""Time that a new leader gives transceivers to report before it treats any as gone."""


class _Finding(NamedTuple):
    """The result for one transceiver from its reports."""

    verdict: Liveness
    reason: str
    is_announced: bool = False
    """Whether it announced its stop; mere silence could be a fault of our own network."""


class TransceiverHealth:
    """The last report of each transceiver, and the resulting verdicts."""

    def __init__(self, started_at: datetime, stale_after_s: float, shares: Shares) -> None:
        """Silence may take down at most the share `all`: if more are silent, we are cut off.

        A whole region may be down, so that its sessions move to another one.
        """
        self.reports: LastReports[TransceiverReport] = LastReports(started_at, stale_after_s)
        self.verdicts: dict[str, Verdict] = {}
        self._started_at = started_at
        self._waited_since: dict[str, datetime] = {}
        """Registered transceivers that never reported: since when we know each."""
        self._guard = DepoolGuard("transceivers", Shares(region=1.0, all=shares.all))

    def inherit(self, reported: Mapping[str, tuple[Received[TransceiverReport], Verdict]]) -> None:
        """Continue from the reports and verdicts of the previous leader."""
        for name, (last, verdict) in reported.items():
            self.reports.received[name], self.verdicts[name] = last, verdict

    def reported(self) -> dict[str, tuple[Received[TransceiverReport], Verdict]]:
        """What the next leader needs: the last report and the verdict of those that reported."""
        return {
            name: (last, self.verdicts[name])
            for name, last in self.reports.received.items()
            if name in self.verdicts
        }

    def evaluate(self, transceivers: Iterable[Transceiver], now: datetime) -> set[str]:
        """Evaluate every transceiver; returns those whose verdict turned."""
        present = {each.id: each for each in transceivers}
        self._forget(present, now)
        self.reports.follow_clock(now)
        found = {name: self._judge(each, now) for name, each in present.items()}
        for name, why in self._guarded(present, found, now).items():
            before = self._before(name)
            found[name] = _Finding(before, f"stays {before}, {why}; {found[name].reason}")
        return {name for name, each in found.items() if self._set(name, each, now)}

    def _forget(self, present: Mapping[str, Transceiver], now: datetime) -> None:
        """Drop those no longer configured, and old reports of those that operators configured."""
        known = {
            name
            for name, each in present.items()
            if each.registered or not self._long_silent(name, now)
        }
        self.reports.forget_all_but(known)
        for kept in (self.verdicts, self._waited_since):
            for gone in kept.keys() - known:
                del kept[gone]

    def _long_silent(self, name: str, now: datetime) -> bool:
        last = self.reports.received.get(name)
        since = self._waited_since.get(name, now) if last is None else last.received_at
        return now - since >= GONE_AFTER and now - self._started_at >= SURE_AFTER

    def _judge(self, transceiver: Transceiver, now: datetime) -> _Finding:
        name = transceiver.id
        last = self.reports.received.get(name)
        if last is None:
            if not transceiver.registered:
                return _Finding("unknown", "")
            waited_s = (now - self._waited_since.setdefault(name, now)).total_seconds()
            if waited_s <= SILENT_AFTER_S:
                return _Finding(self._before(name), "it registered, and has not reported yet")
            return _Finding("down", "it registered, and never reported")
        stops_at = last.report.stops_at
        if stops_at is not None and stops_at <= now:
            reason = f"ended at {stops_at:%H:%M:%S} UTC, as announced"
            return _Finding("down", reason, is_announced=True)
        if self.reports.silence_s(name, now) > SILENT_AFTER_S:
            received = f"{last.received_at:%Y-%m-%d %H:%M:%S}"
            return _Finding("down", f"is silent; its last report arrived at {received} UTC")
        verdict = self.verdicts.get(name)
        if verdict is not None and not self.reports.has_reported(name):
            return _Finding(verdict.verdict, verdict.reason)
        return _Finding("up", "reports")

    def _before(self, name: str) -> Liveness:
        return self.verdicts[name].verdict if name in self.verdicts else "unknown"

    def _guarded(
        self, present: Mapping[str, Transceiver], found: Mapping[str, _Finding], now: datetime
    ) -> dict[str, str]:
        """Silent ones that keep their verdict, and why: otherwise too many would be down."""
        counted = [
            each
            for name, each in present.items()
            if each.state is State.ACTIVE
            and found[name].verdict != "unknown"
            and not found[name].is_announced
        ]
        silent = {
            each.id: self._before(each.id) == "down"
            for each in counted
            if found[each.id].verdict == "down"
        }
        return self._guard.refused(silent, counted, now.timestamp())

    def _set(self, name: str, found: _Finding, now: datetime) -> bool:
        """Store a finding; returns whether the verdict turned."""
        verdict = self.verdicts.get(name)
        if verdict is None and found.verdict == "unknown":
            return False
        if verdict is not None and verdict.verdict == found.verdict:
            if verdict.reason != found.reason:
                self.verdicts[name] = Verdict(found.verdict, verdict.since, found.reason)
            return False
        self.verdicts[name] = Verdict(found.verdict, now, found.reason)
        return True

    def statuses(
        self, transceivers: Iterable[Transceiver], now: datetime
    ) -> dict[str, RelayStatus]:
        """The published status of those that have a verdict, in the order of their ids."""
        known = sorted((each.id, each) for each in transceivers if each.id in self.verdicts)
        return {name: self._status(each, now) for name, each in known}

    def _status(self, transceiver: Transceiver, now: datetime) -> RelayStatus:
        verdict = self.verdicts[transceiver.id]
        fields: dict[str, object] = {
            "verdict": verdict.verdict,
            "since": verdict.since,
            "reason": verdict.reason,
        }
        last = self.reports.fresh(transceiver.id, now)
        if last is not None:
            report = last.report
            capacity = report.capacity or transceiver.capacity
            fields |= {
                "draining": report.draining,
                "stops_at": report.stops_at,
                "sessions": report.sessions,
                "load": report.sessions / capacity if capacity else None,
                "reported_at": last.received_at,
            }
        return RelayStatus.model_validate(fields)

    def gone(self, transceivers: Iterable[Transceiver], now: datetime) -> list[str]:
        """Those that registered themselves and have not reported for a day."""
        return sorted(
            each.id for each in transceivers if each.registered and self._long_silent(each.id, now)
        )
