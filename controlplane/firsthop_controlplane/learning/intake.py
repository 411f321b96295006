"""Accepts batches of samples, each once, and limits each token's rate. No clock, no store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from firsthop_steering.feed.token_bucket import TokenBuckets
from firsthop_steering.rtt.samples import Samples

SAMPLES_PER_S = 1000
BURST = 20_000
"""Limits of one token: samples per second on average, and samples at once."""
OLDEST_S, AHEAD_S = 900.0, 60.0
"""Greatest age of a sample, and how far it may be in the future, by our clock."""
MAX_SOURCES = 10_000
BATCHES_KEPT_S = 2000.0
"""How long names of batches are kept; if a batch is repeated later, its samples are too old."""
MAX_BATCHES = 200_000
MAX_USES = 200_000
"""Most uses of tickets and sessions that are remembered, 30 MB; the oldest are dropped first."""


def batch_name(token: str, batch: str) -> str:
    """A name of a batch that is unique among all sources: 24 hex digits."""
    return hashlib.sha256(f"{token}\0{batch}".encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Drained:
    """Samples to learn from, and the names of their batches with times of receipt."""

    samples: Samples
    batches: dict[str, float]


class Intake:
    """Batches that were received but not yet learned from. Times are seconds on one clock."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("taken", "repeated", "refused", "limited"), 0)
        """Samples by outcome."""
        self._rates = TokenBuckets(burst=BURST, refill_s=1 / SAMPLES_PER_S, max_keys=MAX_SOURCES)
        self._used: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._waiting: list[Samples] = []
        self._new: dict[str, float] = {}

    def remember(self, batches: dict[str, float]) -> None:
        """Add batches that the previous leader accepted."""
        self._seen.update(batches)

    def is_repeated(self, name: str) -> bool:
        """Whether a batch with this name was accepted already."""
        return name in self._seen

    def is_used(self, use: str) -> bool:
        """Whether a ticket or session was used for this relay already."""
        return use in self._used

    def wait_s(self, token: str, count: int, now: float) -> int:
        """0 if the token may send `count` samples, which then count; else seconds to wait."""
        return self._rates.wait_s(token, now, count)

    def take(self, name: str, samples: Samples, now: float, uses: Iterable[str] = ()) -> None:
        """Accept a batch that is neither refused nor repeated, and whose samples are not used."""
        self._seen[name] = self._new[name] = now
        self._used.update(dict.fromkeys(uses, now))
        self._waiting.append(samples)
        self.counts["taken"] += len(samples)

    def drain(self, now: float) -> Drained:
        """Remove and return all waiting batches."""
        _drop_old(self._seen, MAX_BATCHES, now)
        _drop_old(self._used, MAX_USES, now)
        waiting, new = self._waiting, self._new
        self._waiting, self._new = [], {}
        return Drained(_joined(waiting), new)


def _drop_old(times: dict[str, float], most: int, now: float) -> None:
    """Drop what is older than BATCHES_KEPT_S, and the oldest beyond `most`."""
    while times:
        oldest = next(iter(times))
        if len(times) <= most and now - times[oldest] < BATCHES_KEPT_S:
            break
        del times[oldest]


def _joined(parts: list[Samples]) -> Samples:
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        return Samples(nothing.astype(np.uint64), nothing, nothing, nothing.astype(np.float64))
    return Samples(
        np.concatenate([each.prefixes for each in parts]),
        np.concatenate([each.regions for each in parts]),
        np.concatenate([each.sources for each in parts]),
        np.concatenate([each.rtt_ms for each in parts]),
    )
