"""What was counted, as a value that travels between processes, and the metrics that it becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CounterReading = dict[str, dict[str, int]]
"""Family → value of its label → count; a family without a label has the one value ``."""
MetricEntry = tuple[str, str, str]
"""Name of the family, its label or ``, and the help text."""


@dataclass(frozen=True, slots=True)
class MetricTable:
    """The families of one kind of process; `prefix` stands before each name."""

    prefix: str
    counters: tuple[MetricEntry, ...]
    gauges: tuple[MetricEntry, ...]


def add(readings: Iterable[CounterReading]) -> CounterReading:
    """One reading of many: family by family, label by label."""
    total: CounterReading = {}
    for reading in readings:
        for family, values in reading.items():
            sums = total.setdefault(family, {})
            for label, count in values.items():
                sums[label] = sums.get(label, 0) + count
    return total
