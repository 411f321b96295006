"""The state of the RTT model: takes samples and fits a `Learned` on request.

Pure: time and the locations of prefixes are arguments. `RttModel` stores samples; `Learned` gives
estimates for any group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firsthop_steering.rtt.estimates import Locate, Terrain
from firsthop_steering.rtt.learned import Learned, learn
from firsthop_steering.rtt.ledger import Ledger
from firsthop_steering.rtt.samples import MAX_RTT_MS, MIN_RTT_MS, Samples

MAX_REPORTS_KEPT = 4_000_000
"""Stored reports, 96 MB: a million prefixes with four measured regions each."""


@dataclass(slots=True)
class RttModel:
    """The stored reports; `counts` has samples by result."""

    ledger: Ledger = field(default_factory=lambda: Ledger(MAX_REPORTS_KEPT))
    counts: dict[str, int] = field(default_factory=lambda: {"taken": 0, "out_of_range": 0})

    def observe(self, samples: Samples, *, now: int) -> None:
        """Adds a batch; `now` is in seconds and must not decrease."""
        sane = (samples.rtt_ms >= MIN_RTT_MS) & (samples.rtt_ms <= MAX_RTT_MS)
        self.counts["out_of_range"] += int((~sane).sum())
        self.counts["taken"] += int(sane.sum())
        self.ledger.add(samples.take(sane), now=now)

    def learn(self, terrain: Terrain, locate: Locate, *, now: int) -> Learned:
        """Fits the model to all samples stored so far."""
        rows = self.ledger.alive(now=now)
        return learn(
            rows.take(rows.regions < terrain.distances_km.shape[1]), terrain, locate, now=now
        )
