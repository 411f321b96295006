"""Bounded storage of samples: count, mean and spread of each (prefix, region).

Arrays sorted by key, 24 bytes per entry. Locations are not known here. Time is an argument, in
whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.samples import REGION_BITS, Digest

HALF_LIFE_S = 86_400.0
MAX_COUNT = 32.0
"""Upper bound of an entry's count, so that it follows a changed path within this many samples."""
CLIP = 3.0
"""Deviations are clipped at this many spreads (Huber's psi)."""
MIN_COUNT = 0.05
"""An entry is ignored once its count has decayed below this, after 9 days at most."""
NOISE_BASE_MS, NOISE_SHARE = 1.0, 0.05
"""Expected deviation of a sample before any was seen: access jitter, and queues on the path."""
_SPREAD_PRIOR = 4.0
"""Weight, in samples, of that expectation in an entry's noise."""
_DEVIATION = 1.2533
"""Ratio of standard deviation to mean absolute deviation of a normal variable."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The ledger as of one time; `noise_ms` is the standard deviation of one sample."""

    prefixes: Keys
    regions: Ints
    count: Floats
    mean_ms: Floats
    noise_ms: Floats


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """Stored entries, not decayed, ascending by key: the form that is saved and restored."""

    keys: Keys
    count: npt.NDArray[np.float32]
    mean_ms: npt.NDArray[np.float32]
    spread_ms: npt.NDArray[np.float32]
    touched: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, which: slice | npt.NDArray[np.bool_]) -> LedgerRows:
        """The rows of a slice or a mask."""
        return LedgerRows(
            self.keys[which], self.count[which], self.mean_ms[which], self.spread_ms[which],
            self.touched[which],
        )  # fmt: skip


def noise_ms(mean_ms: Floats) -> Floats:
    """Expected standard deviation of a sample with this mean RTT."""
    return NOISE_BASE_MS + NOISE_SHARE * mean_ms


class Ledger:
    """Samples of at most `max_entries` keys; the least recently written entries are dropped
    first."""

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.evicted = 0
        self._keys: Keys = np.empty(0, dtype=np.uint64)
        self._count: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._mean: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._spread: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._touched: npt.NDArray[np.uint32] = np.empty(0, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def bytes(self) -> int:
        """Memory of the entries, in bytes."""
        arrays = (self._keys, self._count, self._mean, self._spread, self._touched)
        return sum(each.nbytes for each in arrays)

    def known(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Floats, Floats, Floats]:
        """For each key: whether it has an entry, and its stored count, mean and noise."""
        if not len(self._keys):
            nothing = np.zeros(len(keys))
            return nothing.astype(bool), nothing, nothing, nothing
        slots = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        mean = self._mean[slots].astype(np.float64)
        count = self._count[slots].astype(np.float64)
        return self._keys[slots] == keys, count, mean, self._noise(slots)

    def add(self, batch: Digest, *, now: int) -> None:
        """Adds a batch; its keys must be distinct and ascending."""
        self._make_room(batch.keys, now=now)
        slots = np.searchsorted(self._keys, batch.keys)
        count = self._decayed(slots, now)
        mean = self._mean[slots].astype(np.float64)
        noise = self._noise(slots)
        fresh = count < MIN_COUNT
        mean[fresh] = batch.value[fresh]
        off = np.clip(batch.value - mean, -CLIP * noise, CLIP * noise)
        after = np.minimum(count + batch.count, MAX_COUNT)
        share = np.where(fresh, 1.0, np.minimum(batch.count / np.maximum(after, 1e-9), 1.0))
        spread = self._spread[slots] + share * (np.abs(off) - self._spread[slots])
        self._spread[slots] = np.where(fresh, 0.0, spread)
        self._mean[slots] = mean + share * off
        self._count[slots] = after
        self._touched[slots] = now

    def entries(self, *, now: int) -> Entries:
        """All entries whose decayed count is at least MIN_COUNT."""
        everywhere = np.arange(len(self._keys))
        count = self._decayed(everywhere, now)
        alive = count >= MIN_COUNT
        keys = self._keys[alive]
        return Entries(
            keys >> np.uint64(REGION_BITS),
            (keys & np.uint64((1 << REGION_BITS) - 1)).astype(np.int64),
            count[alive],
            self._mean[alive].astype(np.float64),
            self._noise(everywhere[alive]),
        )

    def rows(self, *, since: int = 0) -> LedgerRows:
        """The rows written at `since` or later."""
        everything = LedgerRows(self._keys, self._count, self._mean, self._spread, self._touched)
        return everything.take(self._touched >= since)

    def put(self, rows: LedgerRows) -> None:
        """Restores saved rows; each replaces the entry of its key."""
        self._make_room(rows.keys, now=0)
        slots = np.searchsorted(self._keys, rows.keys)
        self._count[slots], self._mean[slots] = rows.count, rows.mean_ms
        self._spread[slots], self._touched[slots] = rows.spread_ms, rows.touched

    def forget(self, regions: Ints) -> None:
        """Drops all entries of these region numbers."""
        of = (self._keys & np.uint64((1 << REGION_BITS) - 1)).astype(np.int64)
        self._keep(~np.isin(of, regions))

    def _noise(self, slots: Ints) -> Floats:
        """Observed and expected deviation, weighted by their numbers of samples."""
        count = self._count[slots].astype(np.float64)
        expected = noise_ms(self._mean[slots].astype(np.float64))
        observed = _DEVIATION * self._spread[slots].astype(np.float64)
        blend: Floats = (_SPREAD_PRIOR * expected + count * observed) / (_SPREAD_PRIOR + count)
        return np.maximum(blend, expected / 4)

    def _decayed(self, slots: Ints, now: int) -> Floats:
        age_s = np.maximum(now - self._touched[slots].astype(np.float64), 0.0)
        decayed: Floats = self._count[slots].astype(np.float64) * np.exp2(-age_s / HALF_LIFE_S)
        return decayed

    def _make_room(self, keys: Keys, *, now: int) -> None:
        """Inserts entries for new keys; evicts the least recently written ones over the bound."""
        slots = np.searchsorted(self._keys, keys)
        held = np.minimum(slots, max(len(self._keys) - 1, 0))
        new = self._keys[held] != keys if len(self._keys) else np.ones(len(slots), dtype=bool)
        if not new.any():
            return
        where = slots[new]
        self._keys = np.insert(self._keys, where, keys[new])
        self._count = np.insert(self._count, where, np.float32(0))
        self._mean = np.insert(self._mean, where, np.float32(0))
        self._spread = np.insert(self._spread, where, np.float32(0))
        self._touched = np.insert(self._touched, where, np.uint32(now))
        over = len(self._keys) - self.max_entries
        if over > 0:
            self._evict(over, keys)

    def _evict(self, over: int, coming: Keys) -> None:
        """Drops the `over` oldest entries, but none of the keys in `coming`."""
        written = np.zeros(len(self._keys), dtype=bool)
        written[np.searchsorted(self._keys, coming)] = True
        age = np.where(written, np.iinfo(np.int64).max, self._touched.astype(np.int64))
        stay = np.ones(len(self._keys), dtype=bool)
        stay[np.argpartition(age, over - 1)[:over]] = False
        stay |= written
        self.evicted += int((~stay).sum())
        self._keep(stay)

    def _keep(self, stay: npt.NDArray[np.bool_]) -> None:
        self._keys, self._count, self._mean = self._keys[stay], self._count[stay], self._mean[stay]
        self._spread, self._touched = self._spread[stay], self._touched[stay]
