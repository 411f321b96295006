"""Which transceivers are there, by their own reports: nobody probes them. No clock, no store.

One that reports is up while it is heard, and down when it has been silent, or has ended as it said
it would. One that never reported is unknown, unless it registered itself: such a one has to speak.
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
"""Longer than any session whose credential names it (a credential is good for a day at most)."""
SURE_AFTER = timedelta(minutes=10)
"""A new leader lets everybody speak before it takes anybody for gone."""


class _Found(NamedTuple):
    """What follows for one transceiver from what it said."""

    verdict: Liveness
    reason: str
    own_word: bool = False
    """It said so; silence may be ours as well."""


class TransceiverHealth:
    """What transceivers last said, and the verdicts that follow."""

    def __init__(self, started_at: datetime, stale_after_s: float, shares: Shares) -> None:
        """No more than the share of all may be down by silence: then we are cut off, not they.

        A region may be lost whole, so that its sessions go elsewhere.
        """
        self.hearing: LastReports[TransceiverReport] = LastReports(started_at, stale_after_s)
        self.standings: dict[str, Verdict] = {}
        self._started_at = started_at
        self._noticed: dict[str, datetime] = {}
        """Since when we wait for one that registered and was never heard."""
        self._guard = DepoolGuard("transceivers", Shares(region=1.0, all=shares.all))

    def inherit(self, attended: Mapping[str, tuple[Received[TransceiverReport], Verdict]]) -> None:
        """Go on where the leader before ended."""
        for name, (heard, standing) in attended.items():
            self.hearing.heard[name], self.standings[name] = heard, standing

    def attended(self) -> dict[str, tuple[Received[TransceiverReport], Verdict]]:
        """Of those that were heard all that a next leader has to know."""
        return {
            name: (heard, self.standings[name])
            for name, heard in self.hearing.heard.items()
            if name in self.standings
        }

    def evaluate(self, transceivers: Iterable[Transceiver], now: datetime) -> set[str]:
        """Judge every transceiver again; those whose verdict turned."""
        present = {each.id: each for each in transceivers}
        self._forget(present, now)
        self.hearing.follow_clock(now)
        found = {name: self._judge(each, now) for name, each in present.items()}
        for name, why in self._guarded(present, found, now).items():
            before = self._before(name)
            found[name] = _Found(before, f"stays {before}, {why}; {found[name].reason}")
        return {name for name, each in found.items() if self._stand(name, each, now)}

    def _forget(self, present: Mapping[str, Transceiver], now: datetime) -> None:
        """Those that are no more; and what one that operators named said, when it is long ago."""
        known = {
            name
            for name, each in present.items()
            if each.registered or not self._long_silent(name, now)
        }
        self.hearing.forget_all_but(known)
        for kept in (self.standings, self._noticed):
            for gone in kept.keys() - known:
                del kept[gone]

    def _long_silent(self, name: str, now: datetime) -> bool:
        heard = self.hearing.heard.get(name)
        last = self._noticed.get(name, now) if heard is None else heard.received_at
        return now - last >= GONE_AFTER and now - self._started_at >= SURE_AFTER

    def _judge(self, transceiver: Transceiver, now: datetime) -> _Found:
        name = transceiver.id
        heard = self.hearing.heard.get(name)
        if heard is None:
            if not transceiver.registered:
                return _Found("unknown", "")
            waited_s = (now - self._noticed.setdefault(name, now)).total_seconds()
            if waited_s <= SILENT_AFTER_S:
                return _Found(self._before(name), "it registered, and has not reported yet")
            return _Found("down", "it registered, and never reported")
        stops_at = heard.report.stops_at
        if stops_at is not None and stops_at <= now:
            return _Found("down", f"ended at {stops_at:%H:%M:%S} UTC, as it said", own_word=True)
        if self.hearing.silence_s(name, now) > SILENT_AFTER_S:
            last = f"{heard.received_at:%Y-%m-%d %H:%M:%S}"
            return _Found("down", f"is silent; its last report came at {last} UTC")
        standing = self.standings.get(name)
        if standing is not None and not self.hearing.speaks(name):
            return _Found(standing.verdict, standing.reason)
        return _Found("up", "reports")

    def _before(self, name: str) -> Liveness:
        return self.standings[name].verdict if name in self.standings else "unknown"

    def _guarded(
        self, present: Mapping[str, Transceiver], found: Mapping[str, _Found], now: datetime
    ) -> dict[str, str]:
        """Those whose silence does not count, and why: too many would be down by it."""
        counted = [
            each
            for name, each in present.items()
            if each.state is State.ACTIVE
            and found[name].verdict != "unknown"
            and not found[name].own_word
        ]
        fallen = {
            each.id: self._before(each.id) == "down"
            for each in counted
            if found[each.id].verdict == "down"
        }
        return self._guard.refused(fallen, counted, now.timestamp())

    def _stand(self, name: str, found: _Found, now: datetime) -> bool:
        standing = self.standings.get(name)
        if standing is None and found.verdict == "unknown":
            return False
        if standing is not None and standing.verdict == found.verdict:
            if standing.reason != found.reason:
                self.standings[name] = Verdict(found.verdict, standing.since, found.reason)
            return False
        self.standings[name] = Verdict(found.verdict, now, found.reason)
        return True

    def statuses(
        self, transceivers: Iterable[Transceiver], now: datetime
    ) -> dict[str, RelayStatus]:
        """What edges are told of those that report, in the order of their ids."""
        known = sorted((each.id, each) for each in transceivers if each.id in self.standings)
        return {name: self._status(each, now) for name, each in known}

    def _status(self, transceiver: Transceiver, now: datetime) -> RelayStatus:
        standing = self.standings[transceiver.id]
        said: dict[str, object] = {
            "verdict": standing.verdict,
            "since": standing.since,
            "reason": standing.reason,
        }
        heard = self.hearing.fresh(transceiver.id, now)
        if heard is not None:
            report = heard.report
            capacity = report.capacity or transceiver.capacity
            said |= {
                "draining": report.draining,
                "stops_at": report.stops_at,
                "sessions": report.sessions,
                "load": report.sessions / capacity if capacity else None,
                "reported_at": heard.received_at,
            }
        return RelayStatus.model_validate(said)

    def gone(self, transceivers: Iterable[Transceiver], now: datetime) -> list[str]:
        """Those that registered themselves and have not been heard for a day."""
        return sorted(
            each.id for each in transceivers if each.registered and self._long_silent(each.id, now)
        )
