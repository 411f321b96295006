"""Schedules of checks that never drift, and back-off after failures. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

JITTER = 0.05  # share of the interval by which a round comes early or late
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Round n at `start` + (phase + n ± 0.05) × `interval_s`; phase and jitter are hashes.

    Times are seconds of a monotonic clock. Every round's time is fixed from the start on: neither
    slow checks nor late timers move other rounds. The phase in [0, 1) is a hash of `key` alone, so
    many keys spread evenly over the interval; the jitter is a hash of key and round, so no other
    periodic event stays in step with it.
    """

    start: float
    interval_s: float
    phase: float
    salt: bytes

    @classmethod
    def of(cls, key: str, *, start: float, interval_s: float) -> Schedule:
        """The schedule of `key`; equal arguments give equal schedules."""
        digest = blake2b(key.encode(), digest_size=16).digest()
        return cls(start, interval_s, _share(digest[:4]), digest[4:])

    def at(self, number: int) -> float:
        """The time of a round (0 is the first)."""
        name = number.to_bytes(8, "big", signed=True)
        jitter = JITTER * (2 * _share(blake2b(name, key=self.salt, digest_size=4).digest()) - 1)
        return self.start + (self.phase + number + jitter) * self.interval_s

    def next_round(self, last: int, now: float) -> int:
        """The first round after `last` whose time is not before `now`; earlier ones are skipped."""
        number = math.floor((now - self.start) / self.interval_s - self.phase - JITTER)
        number = max(number, last + 1)
        while self.at(number) < now:
            number += 1
        return number


def _share(digest: bytes) -> float:
    return int.from_bytes(digest, "big") / (1 << 8 * len(digest))


def backoff_s(failures: int, chance: float) -> float:
    """Seconds to wait after `failures` failures in a row (at least 1), never above 5."""
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10))
    return ceiling * (0.5 + chance / 2)
