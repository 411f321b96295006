"""The numbers that regions have in what is kept: a region keeps its own as long as it is there."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from firsthop_steering.arrays import Ints
from firsthop_steering.rtt.samples import MAX_REGIONS


class RegionNumbers:
    """Names by number. The number of a region that is gone is used again when all are taken."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = list(names)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self.freed: list[int] = []
        """Numbers that mean another region now: what is kept of them has to be forgotten."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def number(self, region: str, present: Container[str]) -> int | None:
        """The region's number; None where all are taken by regions that are `present`."""
        found = self._numbers.get(region)
        if found is not None:
            return found
        if len(self._names) < MAX_REGIONS:
            self._names.append(region)
            self._numbers[region] = len(self._names) - 1
            return len(self._names) - 1
        for number, name in enumerate(self._names):
            if name not in present:
                del self._numbers[name]
                self._names[number], self._numbers[region] = region, number
                self.freed.append(number)
                return number
        return None

    def places(self, regions: Sequence[str]) -> Ints:
        """For each number the place of its region among `regions`; −1 where it is not there."""
        at = {name: place for place, name in enumerate(regions)}
        return np.array([at.get(name, -1) for name in self._names], dtype=np.int64)
