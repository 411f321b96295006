"""Clients by the region they had and the region they get: the outcome of two compiled services."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firsthop_steering.crowd import NOWHERE, SPREAD, Codes, Crowd, Regions
from firsthop_steering.walks import Ints

Floats = npt.NDArray[np.float64]


class Flows(NamedTuple):
    """Clients by where they were and where they are then; one element each."""

    weights: Floats
    cells: Ints
    old_columns: Ints
    new_columns: Ints
    sources: Codes
    targets: Codes

    @property
    def moving(self) -> npt.NDArray[np.bool_]:
        """Who had a region and gets another, or none."""
        moving: npt.NDArray[np.bool_] = self.sources != self.targets
        moving &= self.sources != NOWHERE
        return moving

    @property
    def moved(self) -> float:
        """The share of those who are moving; 0 of nobody."""
        total = float(self.weights.sum())
        return float(self.weights[self.moving].sum()) / total if total else 0.0

    def matrix(self, regions: int) -> Floats:
        """Weights by source × target; the last row and column stand for none."""
        size = regions + 1
        sources, targets = self.sources.astype(np.int64), self.targets.astype(np.int64)
        places = (sources % size) * size + targets % size
        counted = np.bincount(places, weights=self.weights, minlength=size * size)
        return counted.astype(np.float64).reshape(size, size)


def together(one: Flows, other: Flows) -> Flows:
    """The clients of both."""
    return Flows(
        np.concatenate([one.weights, other.weights]),
        np.concatenate([one.cells, other.cells]),
        np.concatenate([one.old_columns, other.old_columns]),
        np.concatenate([one.new_columns, other.new_columns]),
        np.concatenate([one.sources, other.sources]),
        np.concatenate([one.targets, other.targets]),
    )


def flows_of(crowd: Crowd, before: Regions, after: Regions, columns: tuple[Ints, Ints]) -> Flows:
    """A range whose clients are told apart by buckets becomes an element for each pair of regions.

    What both decisions do to a bucket is known exactly; that a range has as many clients in one
    bucket as in another is an approximation for ranges of few prefixes. `columns` are those of the
    crowd in either's map of round trips.
    """
    pairs = before.decisions(crowd) * len(after.rows) + after.decisions(crowd)
    distinct, which = _distinct(pairs, len(before.rows) * len(after.rows))
    old, new = np.divmod(distinct, len(after.rows))
    if (crowd.buckets != SPREAD).any():
        sources = before.rows[old[which], crowd.buckets]
        targets = after.rows[new[which], crowd.buckets]
        return Flows(crowd.weights, crowd.cells, *columns, sources, targets)
    shares = [_shares(before.rows[b], after.rows[a]) for b, a in zip(old, new, strict=True)]
    parts = np.array([len(each) for each in shares], dtype=np.int64)
    sources, targets, share = np.array([row for each in shares for row in each]).reshape(-1, 3).T
    element, row = _repeated(parts, which)
    return Flows(
        crowd.weights[element] * share[row],
        crowd.cells[element],
        columns[0][element],
        columns[1][element],
        sources.astype(np.int16)[row],
        targets.astype(np.int16)[row],
    )


def _distinct(pairs: Ints, limit: int) -> tuple[Ints, Ints]:
    """The distinct pairs, all below `limit`, and the place of each among them."""
    if limit > 4 * len(pairs):
        distinct, places = np.unique(pairs, return_inverse=True)
        return distinct, places.reshape(-1)
    seen = np.zeros(limit, dtype=bool)
    seen[pairs] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[pairs]


def _repeated(parts: Ints, which: Ints) -> tuple[Ints, Ints]:
    """Each element once for every part of its pair: the element, and the part's row."""
    firsts = np.cumsum(parts) - parts
    if (parts == 1).all():
        return np.arange(len(which)), which
    times = parts[which]
    element = np.repeat(np.arange(len(which)), times)
    nth = np.arange(len(element)) - np.repeat(np.cumsum(times) - times, times)
    return element, firsts[which[element]] + nth


def _shares(before: Codes, after: Codes) -> list[tuple[int, int, float]]:
    """(source, target, share of the buckets) of one pair of decisions."""
    packed = (before.astype(np.int64) << 16) + (after.astype(np.int64) - NOWHERE)
    pairs, counts = np.unique(packed, return_counts=True)
    return [
        (pair >> 16, (pair & 0xFFFF) + NOWHERE, count / len(packed))
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
