"""The RTT model's state: samples in, what they say out.

Pure: time and the whereabouts of prefixes are arguments. `RttModel` keeps; `Learned` is what is
kept, worked out, and answers for any group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firsthop_steering.rtt.estimates import Locate, Terrain
from firsthop_steering.rtt.learned import Learned, learn
from firsthop_steering.rtt.ledger import Entries, Ledger
from firsthop_steering.rtt.samples import MAX_RTT_MS, MIN_RTT_MS, Samples, by_source, digest
from firsthop_steering.rtt.trust import Trust

MAX_ENTRIES = 4_000_000
"""(prefix, region) pairs kept: a million prefixes with four measured regions each."""


@dataclass(slots=True)
class RttModel:
    """What is kept. `counts` says what became of samples."""

    ledger: Ledger = field(default_factory=lambda: Ledger(MAX_ENTRIES))
    trust: Trust = field(default_factory=Trust)
    counts: dict[str, int] = field(
        default_factory=lambda: {"taken": 0, "out_of_range": 0, "doubted_source": 0}
    )

    def observe(self, samples: Samples, *, now: int) -> None:
        """Takes a batch in; `now` in seconds, never falling."""
        sane = (samples.rtt_ms >= MIN_RTT_MS) & (samples.rtt_ms <= MAX_RTT_MS)
        self.counts["out_of_range"] += int((~sane).sum())
        samples = by_source(samples.take(sane))
        weights = self.trust.weigh(samples, self.ledger)
        self.counts["doubted_source"] += int((weights < 1).sum())
        self.counts["taken"] += int((weights > 0).sum())
        self.ledger.add(digest(samples, weights), now=now)

    def learn(self, terrain: Terrain, locate: Locate, *, now: int) -> Learned:
        """Everything that the samples so far say."""
        entries = self.ledger.entries(now=now)
        regions = terrain.distances_km.shape[1]
        known = entries.regions < regions
        entries = Entries(
            entries.prefixes[known], entries.regions[known], entries.count[known],
            entries.mean_ms[known], entries.noise_ms[known],
        )  # fmt: skip
        return learn(entries, terrain, locate)
