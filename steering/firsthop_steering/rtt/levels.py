"""Applies `firsthop_steering.rtt.tree` to measured paths: prefixes, AS × cell groups, countries."""

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
"""Standard deviation of the last mile, the delay common to all paths of a prefix."""
MAX_ACCESS = 3.0
"""Bound in deviations: a larger common excess indicates a wrong location or path."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Measured paths as parallel arrays: prefix index, region, deviation from the prior, spread,
    and variance of the measured mean."""

    prefix: Ints
    region: Ints
    off_ms: Floats
    spread_ms: Floats
    noise: Floats


def common_ms(path: Paths, inherited: Floats, count: int) -> tuple[Floats, Floats]:
    """The common delay of each prefix's paths in ms, and its variance.

    The deviation of a single measured path is divided between the common delay and the path's own
    deviation in proportion to their variances.
    """
    weight = 1 / (path.spread_ms**2 + path.noise)
    precision = np.bincount(path.prefix, weight, count) + 1 / ACCESS_MS**2
    off = path.off_ms - path.spread_ms * inherited
    common = np.bincount(path.prefix, weight * off, count) / precision
    return np.clip(common, -ACCESS_MS, MAX_ACCESS * ACCESS_MS), 1 / precision


@dataclass(frozen=True, slots=True)
class Groups:
    """AS × cell groups: each group's key and country, and the group index of each prefix."""

    keys: Ints
    countries: Ints
    of_prefix: Ints

    @classmethod
    def of(cls, cells: Ints, asns: Ints, terrain: Terrain) -> Groups:
        """The groups of prefixes with these cells and AS numbers."""
        keys, which = np.unique(group_key(cells, asns), return_inverse=True)
        return cls(keys, terrain.countries[keys & 0xFFFFFFFF], which)

    def find(self, cells: Ints, asns: Ints) -> Ints:
        """The index of each group; −1 if the group is unknown."""
        wanted = group_key(cells, asns)
        if not len(self.keys):
            return np.full(len(wanted), -1)
        index = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[index] == wanted, index, -1)


def group_key(cells: Ints, asns: Ints) -> Ints:
    return asns.astype(np.int64) << 32 | cells


@dataclass(frozen=True, slots=True)
class LevelTree:
    """The fitted levels: pooled evidence and posteriors of groups and countries."""

    groups: Pooled
    countries: Posterior
    group_expects: Posterior
    group_knows: Posterior
    between_groups: Floats
    members: Floats
    """Precision with which each path entered its group."""
    means: Floats
    """Deviation with which each path entered its group."""
    of_prefix: Ints

    @classmethod
    def grow(
        cls, path: Paths, access: Floats, trusted: npt.NDArray[np.bool_], groups: Groups,
        terrain: Terrain,
    ) -> LevelTree:  # fmt: skip
        """One upward and one downward pass; only the `trusted` paths have weight."""
        regions = terrain.distances_km.shape[1]
        nations = int(terrain.countries.max(initial=0)) + 1
        means = (path.off_ms - access[path.prefix]) / path.spread_ms
        evidence = Evidence(
            path.prefix, path.region, means, path.noise / path.spread_ms**2,
            trusted.astype(np.float64),
        )  # fmt: skip
        pooled = pool(evidence, groups.of_prefix, (len(groups.keys), regions))
        informed = np.nonzero(pooled.precision > 0)
        cells = Evidence(
            informed[0], informed[1], pooled.mean[informed], 1 / pooled.precision[informed],
            np.ones(len(informed[0])),
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
        """For each path, the expectation from other paths only: mean and standard deviation.

        `path` must be the rows `rows_of` of the paths from which the tree was grown.
        """
        members, means = self.members[rows_of], self.means[rows_of]
        group = self.of_prefix[path.prefix]
        rows = (group, path.region)
        precision = 1 / self.group_knows.variance[rows]
        rest = np.maximum(precision - members, 1e-6)
        mean = (precision * self.group_knows.mean[rows] - members * means) / rest
        variance = 1 / rest + self.groups.variance[group]
        return mean, np.sqrt(variance)
