"""Whose samples are believed: a source that is far off its peers loses its weight, and is counted.

A source is compared with what the others say of the same prefix and region: with the other
sources of the batch where there are any, else with what is known already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.rtt.ledger import Ledger, noise_ms
from firsthop_steering.rtt.samples import Samples, digest

MEMORY = 200.0
"""Comparisons that a source is judged by, at most; older ones fade."""
FEW = 10.0
"""Below so many comparisons nobody is called off."""
SOUND, UNSOUND = 1.5, 4.0
"""Mean distance from the peers, in deviations of a sample (0.8 where all is normal): full weight
up to the one, none from the other on."""
FAR = 8.0
"""No single comparison counts for more: one new path is no lie."""
MAX_SOURCES = 4096


@dataclass(slots=True)
class _Record:
    comparisons: float = 0.0
    distance: float = 0.0


class Trust:
    """The sources' records. Bounded: the source with the fewest comparisons makes way."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}

    def weight(self, source: int) -> float:
        """1 for a source in line with its peers, 0 for one that is not."""
        held = self._records.get(source)
        if held is None or held.comparisons < FEW:
            return 1.0
        return float(np.clip((UNSOUND - held.distance) / (UNSOUND - SOUND), 0.0, 1.0))

    def records(self) -> dict[int, tuple[float, float]]:
        """Comparisons and mean distance of each source: what is saved."""
        return {source: (each.comparisons, each.distance) for source, each in self._records.items()}

    def restore(self, records: Mapping[int, tuple[float, float]]) -> None:
        """Takes saved records in place of all there are."""
        self._records = {source: _Record(*each) for source, each in records.items()}

    def weigh(self, samples: Samples, ledger: Ledger) -> Floats:
        """Weights for a batch with one sample a source and key; the records learn from it."""
        distance = _distances(samples, ledger)
        sources, which = np.unique(samples.sources, return_inverse=True)
        compared = ~np.isnan(distance)
        for place, source in enumerate(sources.tolist()):
            self._note(source, distance[compared & (which == place)])
        return np.array([self.weight(source) for source in sources.tolist()])[which]

    def _note(self, source: int, distances: Floats) -> None:
        if not len(distances):
            return
        if source not in self._records and len(self._records) >= MAX_SOURCES:
            del self._records[min(self._records, key=lambda each: self._records[each].comparisons)]
        record = self._records.setdefault(source, _Record())
        after = min(record.comparisons + len(distances), MEMORY)
        share = min(len(distances) / after, 1.0)
        record.distance += share * (float(np.minimum(distances, FAR).mean()) - record.distance)
        record.comparisons = after


def _distances(samples: Samples, ledger: Ledger) -> Floats:
    """How far each sample is off its peers, in deviations; NaN where it has none.

    Three sources are needed: of two that differ, nobody can say which one lies.
    """
    heard = digest(samples, np.ones(len(samples)))
    place = np.searchsorted(heard.keys, samples.keys)
    crowded = heard.count[place] >= 3
    known, count, mean, noise = ledger.known(samples.keys)
    told = known & (count >= 5)
    expected = np.where(crowded, heard.value[place], mean)
    scale = np.where(crowded, noise_ms(expected), noise)
    off = np.abs(samples.rtt_ms - expected) / np.maximum(scale, 1e-3)
    return np.where(crowded | told, off, np.nan)
