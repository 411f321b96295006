"""The levels of `firsthop_steering.rtt.tree` over measured paths: who belongs to which group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.tree import (
    LEVEL_VARIANCE,
    Evidence,
    Pooled,
    Posterior,
    inherit,
    pool,
    update,
)

ACCESS_MS = 5.0
"""Deviation of last miles: what all paths of a prefix have in common."""
MAX_ACCESS = 3.0
"""A common excess beyond so many deviations is not the last mile but a wrong place or path."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Measured paths, a row each: prefix by place, region, ms off the prior, spread, noise."""

    prefix: Ints
    region: Ints
    off_ms: Floats
    spread_ms: Floats
    noise: Floats


def common_ms(path: Paths, inherited: Floats, count: int) -> tuple[Floats, Floats]:
    """What the paths of each prefix have in common, in ms, and the variance of that.

    Paths differ by their spread, so a single measured one is split between both in proportion.
    """
    weight = 1 / (path.spread_ms**2 + path.noise)
    precision = np.bincount(path.prefix, weight, count) + 1 / ACCESS_MS**2
    off = path.off_ms - path.spread_ms * inherited
    common = np.bincount(path.prefix, weight * off, count) / precision
    return np.clip(common, -ACCESS_MS, MAX_ACCESS * ACCESS_MS), 1 / precision


@dataclass(frozen=True, slots=True)
class Groups:
    """AS × cell groups: `of_prefix`, and each group's key and country."""

    keys: Ints
    countries: Ints
    of_prefix: Ints

    @classmethod
    def of(cls, cells: Ints, asns: Ints, terrain: Terrain) -> Groups:
        """The groups of prefixes."""
        keys, which = np.unique(group_key(cells, asns), return_inverse=True)
        return cls(keys, terrain.countries[keys & 0xFFFFFFFF], which)

    def find(self, cells: Ints, asns: Ints) -> Ints:
        """Their places among the groups; −1 for one of which nothing is known."""
        wanted = group_key(cells, asns)
        if not len(self.keys):
            return np.full(len(wanted), -1)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place, -1)


def group_key(cells: Ints, asns: Ints) -> Ints:
    return asns.astype(np.int64) << 32 | cells


@dataclass(frozen=True, slots=True)
class LevelTree:
    """The levels, filled: what members say, and what prefixes and groups may expect."""

    groups: Pooled
    countries: Posterior
    group_expects: Posterior
    group_knows: Posterior
    between_groups: Floats
    members: Floats
    """Precision with which each path entered its group."""
    means: Floats
    """And with which deviation."""
    of_prefix: Ints

    @classmethod
    def grow(
        cls, path: Paths, access: Floats, lost: npt.NDArray[np.bool_], groups: Groups,
        terrain: Terrain,
    ) -> LevelTree:  # fmt: skip
        """Up and down once. Prefixes at a wrong place have no say."""
        regions = terrain.distances_km.shape[1]
        nations = int(terrain.countries.max(initial=0)) + 1
        means = (path.off_ms - access[path.prefix]) / path.spread_ms
        said = Evidence(
            path.prefix, path.region, means, path.noise / path.spread_ms**2,
            (~lost[path.prefix]).astype(np.float64),
        )  # fmt: skip
        pooled = pool(said, groups.of_prefix, (len(groups.keys), regions))
        heard = np.nonzero(pooled.precision > 0)
        cells = Evidence(
            heard[0], heard[1], pooled.mean[heard], 1 / pooled.precision[heard],
            np.ones(len(heard[0])),
        )  # fmt: skip
        above = pool(cells, groups.countries, (nations, regions))
        root = Posterior(np.zeros((nations, regions)), np.full((nations, regions), LEVEL_VARIANCE))
        countries = update(root, above.precision, above.mean)
        expects = inherit(countries, above, cells, groups.countries, above.variance)
        knows = update(expects, pooled.precision, pooled.mean)
        return cls(
            pooled, countries, expects, knows, above.variance, pooled.member_precision, means,
            groups.of_prefix,
        )  # fmt: skip

    def inherited_of(self, path: Paths, rows_of: Ints | slice) -> tuple[Floats, Floats]:
        """For each path what its prefix would expect without it: mean and deviation.

        `path` are those rows of what the tree grew from."""
        members, means = self.members[rows_of], self.means[rows_of]
        group = self.of_prefix[path.prefix]
        rows = (group, path.region)
        precision = 1 / self.group_knows.variance[rows]
        rest = np.maximum(precision - members, 1e-6)
        mean = (precision * self.group_knows.mean[rows] - members * means) / rest
        variance = 1 / rest + self.groups.variance[group]
        return mean, np.sqrt(variance)
