"""Clients between regions whose order depends on what their bucket pays, many columns at once.

The rules are those of `firsthop_steering.decision.decide`: of the sites that keep a bucket the one
with the lowest score takes it, and where none does, the lowest of all; equal scores go by the
draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints

_AT_ONCE = 1024
"""Columns, with 1,024 buckets each: 8 MB an array."""
_NOBODY = np.iinfo(np.int64).max

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Field:
    """The sites that contend, each array with one row a site and one column a bucket."""

    charged_us: Ints
    draws: npt.NDArray[np.uint64]
    keeps: Flags
    full: Flags
    """One element a site: whether it keeps all buckets."""


def needs_priced_choice(highest: Ints, reliefs: Ints, full: Flags) -> Flags:
    """In which columns what a bucket pays may decide who comes first.

    `highest` are sites × columns, scores at list prices; `reliefs` how far they may fall. Only
    sites up to the first that keeps everybody matter.
    """
    torn = np.zeros(highest.shape[1], dtype=np.bool_)
    priced = np.flatnonzero(reliefs)
    if not len(priced):
        return torn
    reach = highest[full].min(axis=0, initial=_NOBODY)
    for site in priced:
        asked = np.flatnonzero(~torn & (highest[site] - reliefs[site] <= reach))
        scores = highest[:, asked]
        touching = scores - reliefs[:, None] <= np.minimum(scores[site], reach[asked])
        touching &= scores >= scores[site] - reliefs[site]
        torn[asked] = touching.sum(axis=0) > 1  # it touches itself
    return torn


def chosen_by_bucket(keys: Ints, field: Field) -> Iterator[npt.NDArray[np.int16]]:
    """For each column the site of each bucket; `keys` are sites × columns, before prices."""
    lows = keys + field.charged_us.min(axis=1)[:, None]
    highs = keys + field.charged_us.max(axis=1)[:, None]
    asked = lows <= highs[field.full].min(axis=0, initial=_NOBODY)
    for first in range(0, keys.shape[1], _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        chosen = _lowest(keys[:, part], asked[:, part], field, field.keeps)
        left = np.flatnonzero((chosen < 0).any(axis=1))
        if len(left):
            anybody = _lowest(
                keys[:, part][:, left], asked[:, part][:, left], field, np.ones_like(field.keeps)
            )
            chosen[left] = np.where(chosen[left] < 0, anybody, chosen[left])
        yield from chosen


def _lowest(keys: Ints, asked: Flags, field: Field, keeps: Flags) -> npt.NDArray[np.int16]:
    """Columns × buckets: of the sites that are asked and keep a bucket the lowest, −1 for none."""
    shape = keys.shape[1], keeps.shape[1]
    best = np.full(shape, _NOBODY, dtype=np.int64)
    chosen = np.full(shape, -1, dtype=np.int16)
    for site in np.flatnonzero(asked.any(axis=1)):
        rows = np.flatnonzero(asked[site])
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
