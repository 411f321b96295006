"""A reading of counters, as a value that processes send to each other, and its metric families."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CounterReading = dict[str, dict[str, int]]
"""Family → value of its label → count; a family without a label has one value, the empty string."""
MetricEntry = tuple[str, str, str]
"""Name of the family, its label (empty if it has none), and the help text."""


@dataclass(frozen=True, slots=True)
class MetricTable:
    """The families of one kind of process; each name is prefixed with `prefix`."""

    prefix: str
    counters: tuple[MetricEntry, ...]
    gauges: tuple[MetricEntry, ...]


def add(readings: Iterable[CounterReading]) -> CounterReading:
    """The sum of readings, by family and label."""
    total: CounterReading = {}
    for reading in readings:
        for family, values in reading.items():
            sums = total.setdefault(family, {})
            for label, count in values.items():
                sums[label] = sums.get(label, 0) + count
    return total
