"""The published order of regions of each prefix: hysteresis over many prefixes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.hysteresis import Order, first_order, published_ms, reorder

OMITTED = -1
"""Replaces tenths of a millisecond if a region is far: readers use the cell's estimate."""
FAR_MS, AT_LEAST = 50.0, 8
"""A region slower than the best by `FAR_MS` is omitted, unless it is among the `AT_LEAST` best."""
STILL_MS, STILL_SHARE = 3.0, 0.1
"""A row whose order is the same changes only if some RTT moved by more than both limits."""


@dataclass(frozen=True, slots=True)
class PrefixOrders:
    """Rows by ascending prefix. `settled` has one bit per pair of regions, packed."""

    prefixes: Keys
    held: npt.NDArray[np.int16]
    rtt_ms: npt.NDArray[np.float32]
    settled: npt.NDArray[np.uint8]
    tenths: npt.NDArray[np.int32]
    """The published values, or OMITTED."""

    @classmethod
    def empty(cls, regions: int) -> PrefixOrders:
        """No rows."""
        return cls(
            np.empty(0, dtype=np.uint64),
            np.empty((0, regions), dtype=np.int16),
            np.empty((0, regions), dtype=np.float32),
            np.empty((0, _packed(regions)), dtype=np.uint8),
            np.empty((0, regions), dtype=np.int32),
        )

    @classmethod
    def published(cls, prefixes: Keys, tenths: npt.NDArray[np.int32]) -> PrefixOrders:
        """The rows of the previous leader, with their order and RTTs as those of the last round."""
        rtt = np.where(tenths == OMITTED, np.nan, tenths / 10)
        held = np.argsort(rtt, axis=1, kind="stable").astype(np.int16)
        settled = np.zeros((len(prefixes), _packed(tenths.shape[1])), dtype=np.uint8)
        return cls(prefixes, held, rtt.astype(np.float32), settled, tenths)

    def next(
        self, prefixes: Keys, rtt_ms: Floats, deviation_ms: Floats, elsewhere_ms: Floats
    ) -> PrefixOrders:
        """The rows of `prefixes` (ascending) after a round.

        For a region that a row omits, readers use `elsewhere_ms`.
        """
        count = rtt_ms.shape[1]
        order = first_order(rtt_ms)
        tenths = np.full(rtt_ms.shape, OMITTED, dtype=np.int32)
        rows = np.minimum(np.searchsorted(self.prefixes, prefixes), max(len(self.prefixes) - 1, 0))
        known = np.zeros(len(prefixes), dtype=bool)
        if len(self.prefixes):
            known = self.prefixes[rows] == prefixes
        if known.any():
            last = self._before(rows[known], rtt_ms[known])
            after = reorder(last, rtt_ms[known], deviation_ms[known])
            order.held[known], order.settled[known] = after.held, after.settled
            tenths[known] = self.tenths[rows[known]]
        fresh = _tenths(order, elsewhere_ms)
        same = known & _still(tenths, fresh, order.held)
        return PrefixOrders(
            prefixes,
            order.held.astype(np.int16),
            rtt_ms.astype(np.float32),
            np.packbits(order.settled.reshape(len(prefixes), count * count), axis=1),
            np.where(same[:, None], tenths, fresh),
        )

    def _before(self, rows: Ints, now: Floats) -> Order:
        """The last round of these rows; present values replace omitted ones."""
        count = now.shape[1]
        last = self.rtt_ms[rows].astype(np.float64)
        held = self.held[rows].astype(np.int64)
        omitted = np.isnan(last)
        if omitted.any():  # published by the previous leader: omitted regions come last
            last = np.where(omitted, now, last)
            behind = np.take_along_axis(omitted, held, axis=1)
            ranked = np.where(behind, np.take_along_axis(now, held, axis=1), -1.0)
            held = np.take_along_axis(held, np.argsort(ranked, axis=1, kind="stable"), axis=1)
        settled = np.unpackbits(self.settled[rows], axis=1, count=count * count)
        return Order(held, last, settled.reshape(-1, count, count).astype(bool))

    def without(self, prefixes: Keys) -> PrefixOrders:
        """The rows of all other prefixes."""
        stay = ~np.isin(self.prefixes, prefixes)
        return PrefixOrders(*(getattr(self, name)[stay] for name in PrefixOrders.__slots__))

    def moved(self, columns: Sequence[int]) -> PrefixOrders:
        """The same rows for other regions: column i is the old `columns[i]`, or new if that is −1.

        The hysteresis starts again.
        """
        at = np.asarray(columns, dtype=np.int64)
        tenths = np.full((len(self.prefixes), len(at)), OMITTED, dtype=np.int32)
        tenths[:, at >= 0] = self.tenths[:, at[at >= 0]]
        return PrefixOrders.published(self.prefixes, tenths)


def joined(parts: Sequence[PrefixOrders], regions: int) -> PrefixOrders:
    """Concatenate chunks with ascending prefixes."""
    parts = parts or [PrefixOrders.empty(regions)]
    return PrefixOrders(
        *(
            np.concatenate([getattr(each, name) for each in parts])
            for name in PrefixOrders.__slots__
        )
    )


def _packed(regions: int) -> int:
    return -(-regions * regions // 8)


def _tenths(order: Order, elsewhere_ms: Floats) -> npt.NDArray[np.int32]:
    """Whole tenths of a millisecond, strictly ascending in the held order: no two are equal."""
    ranked = np.take_along_axis(published_ms(order), order.held, axis=1)
    steps = np.arange(ranked.shape[1])
    rising = np.maximum.accumulate(np.rint(ranked * 10).astype(np.int64) - steps, axis=1) + steps
    tenths = np.empty_like(rising)
    np.put_along_axis(tenths, order.held, np.maximum(rising, 1 + steps), axis=1)
    best = tenths.min(axis=1, keepdims=True) / 10
    far = np.minimum(tenths / 10, elsewhere_ms) > best + FAR_MS
    np.put_along_axis(far, order.held[:, :AT_LEAST], False, axis=1)
    return np.where(far, OMITTED, tenths).astype(np.int32)


def _still(
    before: npt.NDArray[np.int32], now: npt.NDArray[np.int32], held: Ints
) -> npt.NDArray[np.bool_]:
    """Which rows may stay as published: those with the same order in which no RTT moved far."""
    in_both = (before != OMITTED) & (now != OMITTED)
    band = np.maximum(STILL_MS * 10, STILL_SHARE * now)
    near = (~in_both | (np.abs(before - now) <= band)).all(axis=1)
    ranked = np.take_along_axis(
        np.where(before == OMITTED, np.iinfo(np.int32).max, before), held, 1
    )
    in_order = (ranked[:, 1:] >= ranked[:, :-1]).all(axis=1)
    still: npt.NDArray[np.bool_] = np.logical_and(near, in_order)
    return still
