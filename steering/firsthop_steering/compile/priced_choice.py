"""Chooses a site per bucket where the order of sites depends on prices, for many columns at once.

Applies the rules of `firsthop_steering.decision.decide`: a bucket goes to the site with the lowest
score among those that keep it, or among all sites if none keeps it. Draws break ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints

_AT_ONCE = 1024
"""Columns per batch; with 1,024 buckets each an array takes 8 MB."""
_NOBODY = np.iinfo(np.int64).max

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Field:
    """The eligible sites; arrays are sites × buckets unless noted."""

    charged_us: Ints
    draws: npt.NDArray[np.uint64]
    keeps: Flags
    full: Flags
    """One element per site: whether it keeps all buckets."""


def needs_priced_choice(highest: Ints, reliefs: Ints, full: Flags) -> Flags:
    """Mask of the columns in which reliefs can change the order of sites.

    `highest` are the scores at list prices, sites × columns; `reliefs` are the largest reliefs, one
    per site. Only sites up to the first that keeps all clients matter.
    """
    priced_columns = np.zeros(highest.shape[1], dtype=np.bool_)
    priced = np.flatnonzero(reliefs)
    if not len(priced):
        return priced_columns
    reach = highest[full].min(axis=0, initial=_NOBODY)
    for site in priced:
        contending = np.flatnonzero(~priced_columns & (highest[site] - reliefs[site] <= reach))
        scores = highest[:, contending]
        touching = scores - reliefs[:, None] <= np.minimum(scores[site], reach[contending])
        touching &= scores >= scores[site] - reliefs[site]
        priced_columns[contending] = touching.sum(axis=0) > 1  # every site overlaps itself
    return priced_columns


def chosen_by_bucket(keys: Ints, field: Field) -> Iterator[npt.NDArray[np.int16]]:
    """Yields for each column the site of each bucket; `keys` are scores before prices, sites ×
    columns."""
    lows = keys + field.charged_us.min(axis=1)[:, None]
    highs = keys + field.charged_us.max(axis=1)[:, None]
    contending = lows <= highs[field.full].min(axis=0, initial=_NOBODY)
    for first in range(0, keys.shape[1], _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        chosen = _lowest(keys[:, part], contending[:, part], field, field.keeps)
        left = np.flatnonzero((chosen < 0).any(axis=1))
        if len(left):
            fallback = _lowest(
                keys[:, part][:, left],
                contending[:, part][:, left],
                field,
                np.ones_like(field.keeps),
            )
            chosen[left] = np.where(chosen[left] < 0, fallback, chosen[left])
        yield from chosen


def _lowest(keys: Ints, contending: Flags, field: Field, keeps: Flags) -> npt.NDArray[np.int16]:
    """Columns × buckets: the lowest-scoring site in `contending` that keeps the bucket, or −1."""
    shape = keys.shape[1], keeps.shape[1]
    best = np.full(shape, _NOBODY, dtype=np.int64)
    chosen = np.full(shape, -1, dtype=np.int16)
    for site in np.flatnonzero(contending.any(axis=1)):
        rows = np.flatnonzero(contending[site])
        scores = keys[site, rows][:, None] + field.charged_us[site]
        better = scores < best[rows]
        equal = scores == best[rows]
        if equal.any():
            row, drawn = np.nonzero(equal)
            other = chosen[rows[row], drawn]
            better[row, drawn] = field.draws[site, drawn] < field.draws[other, drawn]
        better &= keeps[site]
        best[rows] = np.where(better, scores, best[rows])
        chosen[rows] = np.where(better, site, chosen[rows])
    return chosen
