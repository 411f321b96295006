"""What is kept of all samples: count, mean and spread of each (prefix, region), within a bound.

Arrays sorted by key, 24 bytes an entry. Knows no places. Time is whole seconds, an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.samples import REGION_BITS, Digest

HALF_LIFE_S = 86_400.0
MAX_COUNT = 32.0
"""No entry weighs more samples than this: so a path that changes is followed within as many."""
CLIP = 3.0
"""A value further off than so many spreads is taken as being just so far off (Huber's psi)."""
MIN_COUNT = 0.05
"""An entry that has decayed to this says nothing any more and is dropped: after 9 days at most."""
NOISE_BASE_MS, NOISE_SHARE = 1.0, 0.05
"""Deviation to expect of a sample before any was seen: access jitter, and queues on the path."""
_SPREAD_PRIOR = 4.0
"""Samples' worth of that expectation in an entry's spread."""
_DEVIATION = 1.2533
"""Standard deviation of a normal variable over its mean absolute deviation."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The ledger as of one moment; `noise_ms` is the standard deviation of one sample."""

    prefixes: Keys
    regions: Ints
    count: Floats
    mean_ms: Floats
    noise_ms: Floats


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """Entries as they are kept, undecayed, ascending by key: what is saved and read again."""

    keys: Keys
    count: npt.NDArray[np.float32]
    mean_ms: npt.NDArray[np.float32]
    spread_ms: npt.NDArray[np.float32]
    touched: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, which: slice | npt.NDArray[np.bool_]) -> LedgerRows:
        """Those of a slice or a mask."""
        return LedgerRows(
            self.keys[which], self.count[which], self.mean_ms[which], self.spread_ms[which],
            self.touched[which],
        )  # fmt: skip


def noise_ms(mean_ms: Floats) -> Floats:
    """The standard deviation of a sample where none was measured."""
    return NOISE_BASE_MS + NOISE_SHARE * mean_ms


class Ledger:
    """See the module. `most` bounds its entries; those not touched for longest go first."""

    def __init__(self, most: int) -> None:
        self.most = most
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
        """Memory of the state."""
        arrays = (self._keys, self._count, self._mean, self._spread, self._touched)
        return sum(each.nbytes for each in arrays)

    def known(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Floats, Floats, Floats]:
        """For each key whether it has an entry, and that entry's (undecayed) count, mean, noise."""
        if not len(self._keys):
            nothing = np.zeros(len(keys))
            return nothing.astype(bool), nothing, nothing, nothing
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        mean = self._mean[place].astype(np.float64)
        count = self._count[place].astype(np.float64)
        return self._keys[place] == keys, count, mean, self._noise(place)

    def add(self, batch: Digest, *, now: int) -> None:
        """Takes a batch in; its keys are distinct and ascending."""
        self._make_room(batch.keys, now=now)
        place = np.searchsorted(self._keys, batch.keys)
        count = self._decayed(place, now)
        mean = self._mean[place].astype(np.float64)
        noise = self._noise(place)
        fresh = count < MIN_COUNT
        mean[fresh] = batch.value[fresh]
        off = np.clip(batch.value - mean, -CLIP * noise, CLIP * noise)
        after = np.minimum(count + batch.count, MAX_COUNT)
        share = np.where(fresh, 1.0, np.minimum(batch.count / np.maximum(after, 1e-9), 1.0))
        spread = self._spread[place] + share * (np.abs(off) - self._spread[place])
        self._spread[place] = np.where(fresh, 0.0, spread)
        self._mean[place] = mean + share * off
        self._count[place] = after
        self._touched[place] = now

    def entries(self, *, now: int) -> Entries:
        """Everything that still counts."""
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
        """Those that were written at `since` or later."""
        everything = LedgerRows(self._keys, self._count, self._mean, self._spread, self._touched)
        return everything.take(self._touched >= since)

    def put(self, rows: LedgerRows) -> None:
        """Takes saved rows back, each in place of what is there of its key."""
        self._make_room(rows.keys, now=0)
        place = np.searchsorted(self._keys, rows.keys)
        self._count[place], self._mean[place] = rows.count, rows.mean_ms
        self._spread[place], self._touched[place] = rows.spread_ms, rows.touched

    def forget(self, regions: Ints) -> None:
        """Drops what is known of these regions, by number."""
        of = (self._keys & np.uint64((1 << REGION_BITS) - 1)).astype(np.int64)
        self._keep(~np.isin(of, regions))

    def _noise(self, place: Ints) -> Floats:
        """Seen and expected deviation, by the samples behind each."""
        count = self._count[place].astype(np.float64)
        expected = noise_ms(self._mean[place].astype(np.float64))
        seen = _DEVIATION * self._spread[place].astype(np.float64)
        blend: Floats = (_SPREAD_PRIOR * expected + count * seen) / (_SPREAD_PRIOR + count)
        return np.maximum(blend, expected / 4)

    def _decayed(self, place: Ints, now: int) -> Floats:
        age_s = np.maximum(now - self._touched[place].astype(np.float64), 0.0)
        decayed: Floats = self._count[place].astype(np.float64) * np.exp2(-age_s / HALF_LIFE_S)
        return decayed

    def _make_room(self, keys: Keys, *, now: int) -> None:
        """Entries for new keys; beyond the bound the longest untouched ones make way."""
        place = np.searchsorted(self._keys, keys)
        held = np.minimum(place, max(len(self._keys) - 1, 0))
        new = self._keys[held] != keys if len(self._keys) else np.ones(len(place), dtype=bool)
        if not new.any():
            return
        where = place[new]
        self._keys = np.insert(self._keys, where, keys[new])
        self._count = np.insert(self._count, where, np.float32(0))
        self._mean = np.insert(self._mean, where, np.float32(0))
        self._spread = np.insert(self._spread, where, np.float32(0))
        self._touched = np.insert(self._touched, where, np.uint32(now))
        over = len(self._keys) - self.most
        if over > 0:
            self._evict(over, keys)

    def _evict(self, over: int, coming: Keys) -> None:
        """Drops `over` entries, none of those that are written now."""
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
