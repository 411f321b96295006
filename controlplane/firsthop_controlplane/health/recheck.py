"""Requests that probers recheck a relay at once: a number per relay, raised by each request.

A silent agent, a crash and a return are reasons to recheck, never verdicts. No clock: times are
seconds on one clock, passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SILENT_AFTER_S = 6.0
"""Three missed reports (agents report every 2 s)."""
MIN_PAUSE_S = 5.0
"""Between two requests for one relay: a flapping agent must not make all probers flood it."""


@dataclass(slots=True)
class RecheckRequests:
    """Request numbers under one leader: milliseconds since 1970, so each leader's are new."""

    numbers: dict[str, int] = field(default_factory=dict)
    count: int = 0
    """Requests so far, of all relays."""
    _requested_at: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    _postponed: set[str] = field(default_factory=set)

    def request(self, relay: str, now: float) -> None:
        """Have `relay` rechecked now, or when the pause since the last request is over."""
        if abs(now - self._requested_at.get(relay, -MIN_PAUSE_S)) < MIN_PAUSE_S:
            self._postponed.add(relay)
            return
        self._postponed.discard(relay)
        self._requested_at[relay] = now
        self.numbers[relay] = max(int(now * 1000), self.numbers.get(relay, 0) + 1)
        self.count += 1

    def update(self, silent_for_s: Mapping[str, float], now: float) -> None:
        """Request every relay whose agent has just become silent, and the postponed ones.

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
