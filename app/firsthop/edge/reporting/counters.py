"""Sums of the workers' counters.

A restarted worker counts from 0, so the last counts of its predecessor are kept and added: a sum
never falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

MetricLabels = tuple[tuple[str, str], ...]
Reported = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Metric name → pairs of labels and value, as a worker reports it."""


class CounterBoard:
    """Sums of all workers' counters, including those of workers that ended."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], Reported] = {}
        self._final: dict[tuple[str, MetricLabels], float] = {}

    def report(self, worker: str, generation: int, counters: Reported) -> None:
        """Takes a worker's latest counters; those of its older generations become final."""
        for key in [each for each in self._running if each[0] == worker and each[1] < generation]:
            for series, value in _flat(self._running.pop(key)):
                self._final[series] = self._final.get(series, 0) + value
        self._running[(worker, generation)] = counters

    def totals(self) -> dict[str, dict[MetricLabels, float]]:
        """Metric name → labels → sum."""
        sums = dict(self._final)
        for counters in self._running.values():
            for series, value in _flat(counters):
                sums[series] = sums.get(series, 0) + value
        totals: dict[str, dict[MetricLabels, float]] = {}
        for (name, labels), value in sorted(sums.items()):
            totals.setdefault(name, {})[labels] = value
        return totals


def _flat(counters: Reported) -> Iterator[tuple[tuple[str, MetricLabels], float]]:
    for name, samples in counters.items():
        for labels, value in samples:
            yield (name, tuple(sorted(labels.items()))), value
