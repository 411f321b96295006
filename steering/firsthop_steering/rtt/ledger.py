"""Bounded storage of reports: who reported which round trip, for each (prefix, region).

Arrays sorted by key, 24 bytes per report, within a key in the order of arrival. Since single
reports with their sources are kept, all that a source has taught can be removed. Locations are not
known here. Time is an argument, in whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.rtt.samples import REGION_BITS, Samples
from firsthop_steering.rtt.sources import tokens_of

HALF_LIFE_S = 86_400.0
MAX_REPORTS = 32
"""Reports kept for a (prefix, region): a changed path is followed within about as many samples."""
MIN_WEIGHT = 1 / 512
"""A report is ignored once its weight has decayed below this, after 9 days."""


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """Stored reports, ascending by key: the form that is saved and restored."""

    keys: Keys
    sources: Ints
    rtt_ms: npt.NDArray[np.float32]
    at: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def empty(cls) -> LedgerRows:
        """No reports."""
        return cls(
            np.empty(0, dtype=np.uint64),
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.float32),
            np.empty(0, dtype=np.uint32),
        )

    @classmethod
    def of(cls, samples: Samples, *, now: int) -> LedgerRows:
        """Samples that arrive at `now`."""
        order = np.argsort(samples.keys, kind="stable")
        return cls(
            samples.keys[order],
            samples.sources[order],
            samples.rtt_ms[order].astype(np.float32),
            np.full(len(samples), now, dtype=np.uint32),
        )

    @property
    def prefixes(self) -> Keys:
        """The prefix of each report."""
        return self.keys >> np.uint64(REGION_BITS)

    @property
    def regions(self) -> Ints:
        """The region of each report."""
        return (self.keys & np.uint64((1 << REGION_BITS) - 1)).astype(np.int64)

    def take(self, which: slice | Mask | Ints) -> LedgerRows:
        """The rows of a slice or a mask, or at indices."""
        return LedgerRows(self.keys[which], self.sources[which], self.rtt_ms[which], self.at[which])

    def moved(self, regions: Ints) -> LedgerRows:
        """The same reports about other region numbers, ascending again by key."""
        keys = self.prefixes << np.uint64(REGION_BITS) | regions.astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        return LedgerRows(keys[order], self.sources[order], self.rtt_ms[order], self.at[order])

    def weights(self, *, now: int) -> Floats:
        """The weight of each report, which halves in HALF_LIFE_S."""
        age_s = np.maximum(now - self.at.astype(np.float64), 0.0)
        weights: Floats = np.exp2(-age_s / HALF_LIFE_S)
        return weights


class Ledger:
    """At most `max_reports` reports, and MAX_REPORTS for each key.

    Of a key with too many, those stay that are the newest of their sources, then the second newest,
    and so on: a source that reports often displaces no other. Over the whole bound, the token with
    most reports loses its oldest ones.
    """

    def __init__(self, max_reports: int) -> None:
        self.max_reports = max_reports
        self.evicted = 0
        """Reports dropped because of the whole bound."""
        self._rows = LedgerRows.empty()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bytes(self) -> int:
        """Memory of the reports, in bytes."""
        rows = self._rows
        return sum(each.nbytes for each in (rows.keys, rows.sources, rows.rtt_ms, rows.at))

    def add(self, samples: Samples, *, now: int) -> None:
        """Adds samples that arrive at `now`, after all others."""
        self.put(LedgerRows.of(samples, now=now))

    def put(self, rows: LedgerRows) -> None:
        """Adds rows, ascending by key, which arrived after all others; keeps the bounds."""
        held = self._rows
        places = np.searchsorted(held.keys, rows.keys, side="right")
        self._rows = LedgerRows(
            np.insert(held.keys, places, rows.keys),
            np.insert(held.sources, places, rows.sources),
            np.insert(held.rtt_ms, places, rows.rtt_ms),
            np.insert(held.at, places, rows.at),
        )
        self._shorten(np.unique(rows.keys))
        over = len(self._rows) - self.max_reports
        if over > 0:
            self._evict(over)

    def rows(self, *, since: int = 0) -> LedgerRows:
        """The reports that arrived at `since` or later."""
        return self._rows.take(self._rows.at >= since)

    def alive(self, *, now: int) -> LedgerRows:
        """The reports whose weight is at least MIN_WEIGHT."""
        return self._rows.take(self._rows.weights(now=now) >= MIN_WEIGHT)

    def forget(self, which: Mask) -> int:
        """Drops the reports of a mask of `rows()`; returns their number."""
        self._rows = self._rows.take(~which)
        return int(which.sum())

    def _shorten(self, keys: Keys) -> None:
        """Applies MAX_REPORTS to these ascending keys."""
        starts = np.searchsorted(self._rows.keys, keys)
        sizes = np.searchsorted(self._rows.keys, keys, side="right") - starts
        starts, sizes = starts[sizes > MAX_REPORTS], sizes[sizes > MAX_REPORTS]
        if not len(starts):
            return
        which = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        key, age = np.repeat(np.arange(len(starts)), sizes), -which
        order = np.lexsort((age, self._rows.sources[which], key))
        rank = np.empty(len(which), dtype=np.int64)
        rank[order] = _places((key[order], self._rows.sources[which][order]))
        order = np.lexsort((age, rank, key))
        place = _places((key[order],))
        stay = np.ones(len(self._rows), dtype=bool)
        stay[which[order[place >= MAX_REPORTS]]] = False
        self._rows = self._rows.take(stay)

    def _evict(self, over: int) -> None:
        self.evicted += over
        while over > 0:
            tokens, which = np.unique(tokens_of(self._rows.sources), return_inverse=True)
            counts = np.bincount(which)
            largest = int(counts.argmax())
            others = int(np.sort(counts)[-2]) if len(tokens) > 1 else 0
            drop = min(over, max(int(counts[largest]) - others, 1))
            mine = np.flatnonzero(which == largest)
            stay = np.ones(len(self._rows), dtype=bool)
            stay[mine[np.argsort(self._rows.at[mine], kind="stable")[:drop]]] = False
            self._rows = self._rows.take(stay)
            over -= drop


def _places(columns: tuple[Ints, ...]) -> Ints:
    """The place of each row in its run of equal rows; equal rows are adjacent."""
    count = len(columns[0])
    first = np.ones(count, dtype=bool)
    first[1:] = np.any([each[1:] != each[:-1] for each in columns], axis=0)
    starts = np.flatnonzero(first)
    return np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))
