"""What probers see, and the verdict on each relay that follows: quorum, damping, depool guard.

Drives the pure machines of `firsthop_steering` and keeps their states in memory. What stood before
is handed in, and nothing is known of agents, the store or the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from firsthop_steering.damping import Damping, hold, turned
from firsthop_steering.depool import Fallen, Shares, guarded
from firsthop_steering.model import Liveness, Relay, State
from firsthop_steering.quorum import Count, Sighting, count, self_excluded, sight, vantage_words
from firsthop_steering.reports import ProbeReport


class Opinion(NamedTuple):
    """The verdict on one relay, and the sentence that explains it."""

    verdict: Liveness
    reason: str


@dataclass(slots=True)
class Judgement:
    """Everything that probers said, and how the relays' verdicts turned of late."""

    stale_after_s: float
    shares: Shares
    excluded: frozenset[str] = frozenset()
    """Vantages whose own network is broken, as of the last `judge`."""
    guarded: dict[str, str] = field(default_factory=dict)
    """Relays that the depool guard keeps from turning down, and why."""
    _views: dict[str, dict[str, Sighting]] = field(default_factory=dict)
    """Of each relay, by prober."""
    _words: dict[str, dict[str, Sighting]] = field(default_factory=dict)
    """Of each relay, by vantage, as of the last `judge`."""
    _vantage_of: dict[str, str] = field(default_factory=dict)
    _checks: dict[str, dict[str, datetime]] = field(default_factory=dict)
    """When a prober last checked each relay, by its own clock: tells a new check from an old."""
    _damping: dict[str, Damping] = field(default_factory=dict)
    _fallen_at: dict[str, float] = field(default_factory=dict)
    """Relays measured down that have not turned."""

    def take(self, report: ProbeReport, *, ahead_s: float) -> None:
        """A prober's views in place of its last ones; its clock is `ahead_s` ahead of ours."""
        prober = report.prober
        old = {relay: views.pop(prober, None) for relay, views in self._views.items()}
        checks = self._checks.get(prober, {})
        for view in report.views:
            self._views.setdefault(view.relay, {})[prober] = sight(
                old.get(view.relay),
                view.verdict,
                checked_at=view.checked_at.timestamp() - ahead_s,
                cause=view.reason,
                is_new=checks.get(view.relay) != view.checked_at,
            )
        self._checks[prober] = {view.relay: view.checked_at for view in report.views}
        self._vantage_of[prober] = report.vantage

    def judge(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Liveness],
        *,
        settling: frozenset[str],
        now: datetime,
    ) -> dict[str, Opinion]:
        """Every relay's verdict from what stood before and what is seen now.

        A relay that is `settling` is left as it is, and not in the answer.
        """
        at = now.timestamp()
        self._forget_all_but(relays)
        self._words = {name: self._heard(name, relay, at) for name, relay in relays.items()}
        self.excluded = self_excluded(self._words.values())
        opinions = {}
        for name in relays.keys() - settling:
            opinions[name] = self._opinion(relays[name], previous.get(name, "unknown"), at)
        self._guard(relays, previous, opinions, at)
        for name, opinion in opinions.items():
            before = previous.get(name, "unknown")
            if opinion.verdict != before:
                state = self._damping.get(name, Damping())
                self._damping[name] = turned(state, opinion.verdict, before, now=at)
        return opinions

    def _forget_all_but(self, relays: Mapping[str, Relay]) -> None:
        for kept in (self._views, self._damping, self._fallen_at):
            for gone in kept.keys() - relays.keys():
                del kept[gone]

    def _heard(self, name: str, relay: Relay, at: float) -> dict[str, Sighting]:
        probe = relay.probe
        return vantage_words(
            self._views.get(name, {}),
            self._vantage_of,
            before=self._words.get(name, {}),
            now=at,
            # Three checks missed, where checks are rarer than the common limit.
            stale_after_s=max(self.stale_after_s, 3 * probe.interval_s + probe.timeout_s),
        )

    def _opinion(self, relay: Relay, previous: Liveness, at: float) -> Opinion:
        """What is measured, unless it has to wait."""
        name = relay.id
        counted = count(self._words[name], self.excluded, previous)
        if not counted.counted:
            return Opinion(previous, self._frozen(name, counted))
        if counted.verdict != previous:
            held = hold(
                self._damping.get(name, Damping()),
                counted.verdict,
                previous=previous,
                counted=counted.counted,
                fall=relay.probe.fall,
                now=at,
            )
            if held is not None:
                self._damping[name] = held.state
                reason = f"{counted.said}; stays {previous}, {held.why}"
                return Opinion(previous, _with_causes(reason, counted))
        return Opinion(counted.verdict, _with_causes(counted.said, counted))

    def _frozen(self, name: str, counted: Count) -> str:
        views = self._views.get(name)
        if not views:
            return f"{counted.said}, as no prober has reported"
        last = datetime.fromtimestamp(max(view.checked_at for view in views.values()), UTC)
        return f"{counted.said}; last check at {last:%Y-%m-%d %H:%M:%S} UTC"

    def _guard(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Liveness],
        opinions: dict[str, Opinion],
        at: float,
    ) -> None:
        """Take back turns to down that would leave too few; only active relays count."""
        active = [relay for relay in relays.values() if relay.state is State.ACTIVE]
        fallen = self._fallen(active, previous, opinions, at)
        self._fallen_at = {each.relay: each.since for each in fallen if not each.is_down}
        self.guarded = {}
        if not self._fallen_at:
            return
        of_region = Counter(relay.region for relay in active)
        self.guarded = guarded(fallen, of_region, self.shares)
        for name, why in self.guarded.items():
            stays = previous.get(name, "unknown")
            reason = opinions[name].reason
            opinions[name] = Opinion(stays, f"stays {stays}, {why}; measured: {reason}")

    def _fallen(
        self,
        active: Sequence[Relay],
        previous: Mapping[str, Liveness],
        opinions: Mapping[str, Opinion],
        at: float,
    ) -> list[Fallen]:
        found = []
        for relay in active:
            name = relay.id
            was_down = previous.get(name) == "down"
            opinion = opinions.get(name)
            if opinion.verdict == "down" if opinion else was_down:
                since = 0.0 if was_down else self._fallen_at.get(name, at)
                found.append(Fallen(name, relay.region, since, was_down))
        return found


def _with_causes(said: str, counted: Count) -> str:
    return f"{said} ({counted.causes})" if counted.causes else said
