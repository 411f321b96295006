"""When to do it again: slots that never drift, and pauses after failures. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

JITTER = 0.1  # share of the interval that a slot may come late, so that probers do not beat in step
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0
_EARLY = 1e-6  # share of an interval by which a timer may fire too early


@dataclass(frozen=True, slots=True)
class Schedule:
    """Slots at `start` + k × `interval_s`, each up to a tenth of the interval late.

    Times are seconds of a monotonic clock. Slots are absolute: what a check took, and how late a
    timer was, moves no later slot; slots that have passed are left out.
    """

    start: float
    interval_s: float

    def next_after(self, now: float, chance: float) -> float:
        """The time of the first slot that begins after `now`; `chance` is uniform in [0, 1)."""
        slot = math.floor((now - self.start) / self.interval_s + _EARLY) + 1
        return self.start + (slot + JITTER * chance) * self.interval_s


def backoff_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1 is the first), never above 5."""
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10))
    return ceiling * (0.5 + chance / 2)
