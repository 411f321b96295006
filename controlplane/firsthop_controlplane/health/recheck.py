"""Requests that probers recheck a relay at once: a number per relay, which each request raises.

A relay is rechecked if its agent falls silent, or reports a crash or its end; none of these is a
verdict. This module has no clock: callers pass in times, as seconds on one clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SILENT_AFTER_S = 6.0
"""Time of three missed reports: agents report every 2 s."""
MIN_PAUSE_S = 5.0
"""Time between two requests for one relay, so that a flapping agent does not cause a flood."""


@dataclass(slots=True)
class RecheckRequests:
    """Request numbers, as milliseconds since 1970, so that each leader's numbers are new."""

    numbers: dict[str, int] = field(default_factory=dict)
    count: int = 0
    """Number of requests so far, for all relays."""
    _requested_at: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    _postponed: set[str] = field(default_factory=set)

    def request(self, relay: str, now: float) -> None:
        """Request a recheck of `relay` now, or when the pause since the last one is over."""
        if abs(now - self._requested_at.get(relay, -MIN_PAUSE_S)) < MIN_PAUSE_S:
            self._postponed.add(relay)
            return
        self._postponed.discard(relay)
        self._requested_at[relay] = now
        self.numbers[relay] = max(int(now * 1000), self.numbers.get(relay, 0) + 1)
        self.count += 1

    def update(self, silent_for_s: Mapping[str, float], now: float) -> None:
        """Request rechecks of relays whose agent just fell silent, and the postponed ones.

        `silent_for_s` has the seconds since each agent's last report. Called every second.
        """
        silent = {name for name, age_s in silent_for_s.items() if age_s > SILENT_AFTER_S}
        for name in (silent - self._silent) | self._postponed:
            self.request(name, now)
        self._silent = silent

    def forget_all_but(self, relays: Iterable[str]) -> None:
        """Drop relays that are no longer configured."""
        present = set(relays)
        self._postponed &= present
        for gone in self.numbers.keys() - present:
            del self.numbers[gone], self._requested_at[gone]
