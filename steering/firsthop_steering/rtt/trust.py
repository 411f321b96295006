"""Trust in sources of samples: a source that deviates from its peers loses its weight.

A source is compared with its peers for the same prefix and region: with the other sources of the
batch, or, if there are too few, with the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.rtt.ledger import Ledger, noise_ms
from firsthop_steering.rtt.samples import Samples, digest

MEMORY = 200.0
"""Upper bound of the comparisons by which a source is judged; older ones fade."""
FEW = 10.0
"""With fewer comparisons a source keeps its full weight."""
SOUND, UNSOUND = 1.5, 4.0
"""Mean distances from the peers, in deviations of a sample (0.8 if all is normal), up to which a
source has full weight, and from which it has none."""
FAR = 8.0
"""Upper bound of one comparison's distance, since a path may really have changed."""
MAX_SOURCES = 4096


@dataclass(slots=True)
class _Record:
    comparisons: float = 0.0
    distance: float = 0.0


class Trust:
    """The records of up to MAX_SOURCES sources; beyond, the one with the fewest comparisons is
    dropped."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}
        self.doubted = 0
        """Samples weighted down or ignored because of their source."""

    def weight(self, source: int) -> float:
        """Weight of a source, from 1 (agrees with its peers) to 0."""
        held = self._records.get(source)
        if held is None or held.comparisons < FEW:
            return 1.0
        return float(np.clip((UNSOUND - held.distance) / (UNSOUND - SOUND), 0.0, 1.0))

    def records(self) -> dict[int, tuple[float, float]]:
        """Comparisons and mean distance of each source, for saving."""
        return {source: (each.comparisons, each.distance) for source, each in self._records.items()}

    def restore(self, records: Mapping[int, tuple[float, float]]) -> None:
        """Replaces all records by saved ones."""
        self._records = {source: _Record(*each) for source, each in records.items()}

    def weigh(self, samples: Samples, ledger: Ledger) -> Floats:
        """Weights of a batch with one sample per source and key; also updates the records."""
        distance = _distances(samples, ledger)
        sources, which = np.unique(samples.sources, return_inverse=True)
        compared = ~np.isnan(distance)
        for index, source in enumerate(sources.tolist()):
            self._note(source, distance[compared & (which == index)])
        weights = np.array([self.weight(source) for source in sources.tolist()])[which]
        self.doubted += int((weights < 1).sum())
        return weights

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
    """Distance of each sample from its peers in deviations; NaN if it has none.

    Three sources are needed: of two that differ, it is unknown which one is wrong.
    """
    digested = digest(samples, np.ones(len(samples)))
    index = np.searchsorted(digested.keys, samples.keys)
    has_peers = digested.count[index] >= 3
    known, count, mean, noise = ledger.known(samples.keys)
    informed = known & (count >= 5)
    expected = np.where(has_peers, digested.value[index], mean)
    scale = np.where(has_peers, noise_ms(expected), noise)
    off = np.abs(samples.rtt_ms - expected) / np.maximum(scale, 1e-3)
    return np.where(has_peers | informed, off, np.nan)
