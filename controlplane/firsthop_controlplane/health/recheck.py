"""Which relays probers are to check at once: a number for each, which is raised when it may matter.

An agent that is silent, a crash and a return are no verdicts, but reasons to look. No clock: times
are seconds on one clock, handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SILENT_AFTER_S = 6.0
"""Three reports that did not come (agents report every 2 s)."""
MIN_PAUSE_S = 5.0
"""Between two nudges of one relay: an agent that flaps must not make all probers storm it."""


@dataclass(slots=True)
class RecheckRequests:
    """The numbers since a leader began: milliseconds since 1970, so a new leader's are others."""

    numbers: dict[str, int] = field(default_factory=dict)
    raised: int = 0
    """How often any was raised."""
    _raised_at: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    _owed: set[str] = field(default_factory=set)

    def nudge(self, relay: str, now: float) -> None:
        """Have `relay` checked now; if that was asked for a moment ago, when the pause is over."""
        if abs(now - self._raised_at.get(relay, -MIN_PAUSE_S)) < MIN_PAUSE_S:
            self._owed.add(relay)
            return
        self._owed.discard(relay)
        self._raised_at[relay] = now
        self.numbers[relay] = max(int(now * 1000), self.numbers.get(relay, 0) + 1)
        self.raised += 1

    def listen(self, silent_for_s: Mapping[str, float], now: float) -> None:
        """Nudge every relay whose agent has just become silent, and those that had to wait.

        Times are those since each agent's last report. Called every second.
        """
        silent = {name for name, age_s in silent_for_s.items() if age_s > SILENT_AFTER_S}
        for name in (silent - self._silent) | self._owed:
            self.nudge(name, now)
        self._silent = silent

    def forget_all_but(self, relays: Iterable[str]) -> None:
        """Relays that are no more."""
        present = set(relays)
        self._owed &= present
        for gone in self.numbers.keys() - present:
            del self.numbers[gone], self._raised_at[gone]
