"""The state of the RTT model: takes samples and fits a `Learned` on request.

Pure: time and the locations of prefixes are arguments. `RttModel` stores samples; `Learned` gives
estimates for any group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firsthop_steering.rtt.estimates import Locate, Terrain
from firsthop_steering.rtt.learned import Learned, learn
from firsthop_steering.rtt.ledger import Entries, Ledger
from firsthop_steering.rtt.samples import MAX_RTT_MS, MIN_RTT_MS, Samples, by_source, digest
from firsthop_steering.rtt.trust import Trust

MAX_ENTRIES = 4_000_000
"""Stored (prefix, region) pairs: a million prefixes with four measured regions each."""


@dataclass(slots=True)
class RttModel:
    """The stored samples and the trust in their sources; `counts` has samples by result."""

    ledger: Ledger = field(default_factory=lambda: Ledger(MAX_ENTRIES))
    trust: Trust = field(default_factory=Trust)
    counts: dict[str, int] = field(
        default_factory=lambda: {"taken": 0, "out_of_range": 0, "doubted_source": 0}
    )

    def observe(self, samples: Samples, *, now: int) -> None:
        """Adds a batch; `now` is in seconds and must not decrease."""
        sane = (samples.rtt_ms >= MIN_RTT_MS) & (samples.rtt_ms <= MAX_RTT_MS)
        self.counts["out_of_range"] += int((~sane).sum())
        samples = by_source(samples.take(sane))
        weights = self.trust.weigh(samples, self.ledger)
        self.counts["doubted_source"] += int((weights < 1).sum())
        self.counts["taken"] += int((weights > 0).sum())
        self.ledger.add(digest(samples, weights), now=now)

    def learn(self, terrain: Terrain, locate: Locate, *, now: int) -> Learned:
        """Fits the model to all samples stored so far."""
        entries = self.ledger.entries(now=now)
        regions = terrain.distances_km.shape[1]
        known = entries.regions < regions
        entries = Entries(
            entries.prefixes[known], entries.regions[known], entries.count[known],
            entries.mean_ms[known], entries.noise_ms[known],
        )  # fmt: skip
        return learn(entries, terrain, locate)
