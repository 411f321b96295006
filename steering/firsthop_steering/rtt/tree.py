"""A hierarchical model of client groups: prefix, AS × cell, country; groups inherit from parents.

All numbers are deviations from the prior in units of a path's expected spread, so that a country's
common deviation applies to near and far regions alike. Each level deviates normally from the level
above, and the posterior is exact: an upward pass computes the weighted mean of each group's
members, a downward pass passes each group the posterior of its parent *without its own share*. This
is the shrinkage

    mu_l = (kappa_l mu_{l-1} + n y) / (kappa_l + n),   kappa_l = noise^2 / parent's variance

with each kappa estimated from the variance between groups (`between`), not a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.prior import huber_weights

LEVEL_VARIANCE = 1 / 3
"""Initial variance: each of the three levels has a third of a path's variance."""
_MIN_VARIANCE = 0.02
_STRENGTH = 20.0
"""Weight of the initial variance of a level, in (member, region) pairs."""
_OWN_STRENGTH = 10.0
"""Weight of a level's variance in the variance of one group, in (member, region) pairs."""
_MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row per (group, region) of a level: mean, its sampling variance, and trust (0 to 1)."""

    groups: Ints
    regions: Ints
    mean: Floats
    variance: Floats
    trust: Floats


@dataclass(frozen=True, slots=True)
class Pooled:
    """The members of a level pooled by parent: total precision and mean, parents × regions."""

    precision: Floats
    mean: Floats
    member_precision: Floats
    """Precision with which each row of the evidence entered."""
    variance: Floats
    """Variance between members, one per parent."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and variance, groups × regions."""

    mean: Floats
    variance: Floats


def pool(evidence: Evidence, parents: Ints, count: tuple[int, int]) -> Pooled:
    """Pools evidence by the parents of its groups.

    `parents` holds the parent of each group; `count` is (number of parents, number of regions).
    Outliers among the members of a parent weigh less (Huber); each of three iterations uses the
    variance found by the previous one.
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
    """The variance between the members of each parent; `off` are deviations from its mean.

    The level's variance is estimated by medians; each parent's own is shrunk towards it.
    """
    trusted = evidence.trust > 0.5
    size = np.bincount(slots[trusted], minlength=count[0] * count[1])[slots]
    usable = trusted & (size >= 2)
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
    """Each group's expectation from its parent: the parent's posterior without the group's own
    share, plus the variance between members."""
    precision = 1 / parent.variance[parents]
    weighted = precision * parent.mean[parents]
    rows = (evidence.groups, evidence.regions)
    np.subtract.at(precision, rows, pooled.member_precision)
    np.subtract.at(weighted, rows, pooled.member_precision * evidence.mean)
    precision = np.maximum(precision, 1e-6)
    return Posterior(weighted / precision, 1 / precision + between_members[parents][:, None])


def update(expected: Posterior, precision: Floats, mean: Floats) -> Posterior:
    """A group's posterior from its inherited expectation and its members' evidence."""
    total = 1 / expected.variance + precision
    return Posterior((expected.mean / expected.variance + precision * mean) / total, 1 / total)
