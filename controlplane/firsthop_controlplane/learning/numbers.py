"""The numbers of regions in the ledger: a region keeps its number while it is configured."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from firsthop_steering.arrays import Ints
from firsthop_steering.rtt.samples import MAX_REGIONS


class RegionNumbers:
    """Region names by number. Once all numbers are taken, those of removed regions are reused."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = list(names)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self.freed: list[int] = []
        """Numbers that were reused: their old ledger entries must be deleted."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def number(self, region: str, present: Container[str]) -> int | None:
        """The region's number; None if all numbers belong to regions that are `present`."""
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

    def indices(self, regions: Sequence[str]) -> Ints:
        """For each number, the index of its region in `regions`; −1 if it is missing."""
        index = {name: at for at, name in enumerate(regions)}
        return np.array([index.get(name, -1) for name in self._names], dtype=np.int64)
