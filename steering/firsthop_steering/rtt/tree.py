"""The tree of client groups: prefix, AS × cell, country. What a group has not measured it inherits.

All numbers are deviations from the prior, in units of the spread to expect of the path, so what a
country's paths have in common carries over from near regions to far ones. Every level is a normal
deviation from the one above, and the posterior is exact: up goes the weighted mean of a group's
members, down comes the posterior of its parent *without its own share*. That is the shrinkage

    mu_l = (kappa_l mu_{l-1} + n y) / (kappa_l + n),   kappa_l = noise^2 / parent's variance

with each kappa taken from how far groups were found apart (`between`), not from a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.prior import huber_weights

LEVEL_VARIANCE = 1 / 3
"""Before anything is known each of three levels has its third of a path's deviation."""
_MIN_VARIANCE = 0.02
_STRENGTH = 20.0
"""Pairs (member, region) whose deviations weigh as much as what was expected beforehand."""
_OWN_STRENGTH = 10.0
"""The same for how far apart the members of one single group are."""
_MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row a (group, region) of a level: mean, its variance by itself, and trust (0 to 1)."""

    groups: Ints
    regions: Ints
    mean: Floats
    variance: Floats
    trust: Floats


@dataclass(frozen=True, slots=True)
class Pooled:
    """A level's members seen from above: sum of precisions and mean, shape (parents, regions)."""

    precision: Floats
    mean: Floats
    member_precision: Floats
    """Of each row of the evidence, as it entered."""
    variance: Floats
    """Between the members, a parent each."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and variance, shape (groups, regions)."""

    mean: Floats
    variance: Floats


def pool(evidence: Evidence, parents: Ints, count: tuple[int, int]) -> Pooled:
    """Rows to their groups' parents; `parents[group]`, `count` = (parents, regions).

    Members that differ far from the others of their parent weigh less (Huber); a second look uses
    the variance that the first has found.
    """
    above = parents[evidence.groups]
    slots = above * count[1] + evidence.regions
    variance = np.full(count[0], LEVEL_VARIANCE)
    robust = evidence.trust
    for _ in range(3):
        member = robust / (variance[above] + evidence.variance)
        precision = np.bincount(slots, member, count[0] * count[1]).astype(np.float64)
        total = np.bincount(slots, member * evidence.mean, count[0] * count[1])
        mean = total / np.maximum(precision, 1e-12)
        off = evidence.mean - mean[slots]
        variance = between(off, evidence, above, slots, count)
        robust = evidence.trust * huber_weights(
            off / np.sqrt(variance[above] + evidence.variance), 2.0
        )
    return Pooled(precision.reshape(count), mean.reshape(count), member, variance)


def between(
    off: Floats, evidence: Evidence, above: Ints, slots: Ints, count: tuple[int, int]
) -> Floats:
    """The variance between the members of each parent, from deviations off the parents' means.

    First one for the level, by medians; then each parent's own, drawn to that of the level.
    """
    heard = evidence.trust > 0.5
    size = np.bincount(slots[heard], minlength=count[0] * count[1])[slots]
    usable = heard & (size >= 2)
    excess = off**2 * size / np.maximum(size - 1, 1) - evidence.variance
    pairs = int(usable.sum())
    level = LEVEL_VARIANCE
    if pairs:
        raw = float(
            np.median((off**2 * size / np.maximum(size - 1, 1))[usable])
        ) / _MEDIAN_OF_SQUARE - float(np.median(evidence.variance[usable]))
        level = (_STRENGTH * level + pairs * max(raw, 0.0)) / (_STRENGTH + pairs)
    level = max(level, _MIN_VARIANCE)
    capped = np.clip(excess, -level, 16 * level)
    total = np.bincount(above[usable], capped[usable], count[0])
    own = (_OWN_STRENGTH * level + total) / (
        _OWN_STRENGTH + np.bincount(above[usable], minlength=count[0])
    )
    return np.clip(own, level / 4, level * 16)


def inherit(
    parent: Posterior, pooled: Pooled, evidence: Evidence, parents: Ints, between_members: Floats
) -> Posterior:
    """What each group of a level may expect from its parent: the parent's posterior less the
    group's own share, plus the variance between members."""
    precision = 1 / parent.variance[parents]
    weighted = precision * parent.mean[parents]
    rows = (evidence.groups, evidence.regions)
    np.subtract.at(precision, rows, pooled.member_precision)
    np.subtract.at(weighted, rows, pooled.member_precision * evidence.mean)
    precision = np.maximum(precision, 1e-6)
    return Posterior(weighted / precision, 1 / precision + between_members[parents][:, None])


def update(expected: Posterior, precision: Floats, mean: Floats) -> Posterior:
    """A group's posterior from what it inherits and what its own members say."""
    total = 1 / expected.variance + precision
    return Posterior((expected.mean / expected.variance + precision * mean) / total, 1 / total)
