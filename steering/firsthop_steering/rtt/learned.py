"""The fitted RTT model as of one time, and its estimates; see `firsthop_steering.rtt.tree`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt import placing
from firsthop_steering.rtt.estimates import Estimates, Locate, Terrain
from firsthop_steering.rtt.ledger import Entries
from firsthop_steering.rtt.levels import ACCESS_MS, Groups, LevelTree, Paths, common_ms
from firsthop_steering.rtt.prior import Prior, fit_prior, spread_ms
from firsthop_steering.rtt.tree import LEVEL_VARIANCE, Posterior

_SITES = 400
"""Number of cells, those with most prefixes, at which a mislocated prefix is tried."""


def learn(entries: Entries, terrain: Terrain, locate: Locate) -> Learned:
    prefixes, which = np.unique(entries.prefixes, return_inverse=True)
    cells, asns = locate(prefixes)
    groups = Groups.of(cells, asns, terrain)
    distance = terrain.distances_km[cells[which], entries.regions]
    prior = fit_prior(
        distance, entries.regions, entries.mean_ms, count=terrain.distances_km.shape[1]
    )
    expected = prior.expect(distance, entries.regions)
    scale = _scale(entries.mean_ms - expected, spread_ms(expected))
    spread = spread_ms(expected) * scale
    noise = entries.noise_ms**2 / entries.count
    light = placing.outruns_light(entries.mean_ms, distance)
    lost = np.bincount(which[light], minlength=len(prefixes)) > 0
    access = np.zeros(len(prefixes))
    access_variance = np.full(len(prefixes), ACCESS_MS**2)
    off = np.zeros(len(which))
    for _ in range(2):
        path = Paths(which, entries.regions, entries.mean_ms - expected, spread, noise)
        access, access_variance = common_ms(path, off, len(prefixes))
        tree = LevelTree.grow(path, access, lost, groups, terrain)
        off, deviation = tree.inherited_of(path, slice(None))
        misfit = np.abs(path.off_ms - access[which] - spread * off) / np.sqrt(
            (spread * deviation) ** 2 + noise + access_variance[which]
        )
        worst = np.zeros(len(prefixes))
        np.maximum.at(worst, which, misfit)
        lost |= worst > placing.MISFIT
    return Learned(
        terrain, prior, scale, groups, tree, prefixes, cells, entries, which, spread, noise,
        access, access_variance, lost,
    )  # fmt: skip


def _scale(off_ms: Floats, spread: Floats) -> float:
    """Factor by which paths scatter more than expected; its prior value 1 weighs as 50 paths."""
    if not len(off_ms):
        return 1.0
    observed = 1.4826 * float(np.median(np.abs(off_ms) / spread))
    return float(np.clip((50 + len(off_ms) * observed) / (50 + len(off_ms)), 0.25, 4.0))


@dataclass(frozen=True, slots=True)
class Learned:
    """The fitted model as of one time; immutable, with vectorised reads."""

    terrain: Terrain
    prior: Prior
    scale: float
    """Factor by which paths scatter more than `spread_ms` expects."""
    groups: Groups
    tree: LevelTree
    prefixes: Keys
    cells: Ints
    entries: Entries
    which: Ints
    """Index in `prefixes` of each entry."""
    spread: Floats
    noise: Floats
    access: Floats
    access_variance: Floats
    lost: npt.NDArray[np.bool_]
    """Mask of the prefixes whose location in the geo data is wrong."""

    def of_groups(self, cells: Ints, asns: Ints) -> Estimates:
        """Estimates for clients of these cells and AS numbers, cells × regions."""
        expected = self.prior.expect(self.terrain.distances_km[cells])
        spread = spread_ms(expected) * self.scale
        knows, source = self._inherited(self.groups.find(cells, asns), cells, prefix=False)
        return Estimates(
            expected + spread * knows.mean,
            spread * np.sqrt(knows.variance),
            source,
            placing.light_ms(self.terrain.distances_km[cells]),
        )

    def of_prefixes(self, wanted: slice) -> Estimates:
        """Estimates for the prefixes `self.prefixes[wanted]`, prefixes × regions."""
        first, last, _ = wanted.indices(len(self.prefixes))
        cells, access = self.cells[first:last], self.access[first:last]
        expected = self.prior.expect(self.terrain.distances_km[cells])
        spread = spread_ms(expected) * self.scale
        knows, source = self._inherited(self.groups.of_prefix[first:last], cells, prefix=True)
        mean = expected + access[:, None] + spread * knows.mean
        variance = spread**2 * knows.variance + self.access_variance[first:last, None]
        here = np.flatnonzero((self.which >= first) & (self.which < last))
        rows = (self.which[here] - first, self.entries.regions[here])
        self._put_inherited(here, rows, mean, variance)
        strays = np.flatnonzero(self.lost[first:last])
        if len(strays):
            mean[strays], variance[strays] = self._relocated(strays + first)
            source[strays] = 0
        own = 1 / self.noise[here]
        total = 1 / variance[rows] + own
        mean[rows] = (mean[rows] / variance[rows] + own * self.entries.mean_ms[here]) / total
        source[rows] = np.where(own * 2 > total, 3, source[rows])
        variance[rows] = 1 / total
        lower_bound = placing.light_ms(self.terrain.distances_km[cells])
        lower_bound[strays] = 0.0
        return Estimates(mean, np.sqrt(variance), source, lower_bound)

    def _put_inherited(
        self, here: Ints, rows: tuple[Ints, Ints], mean: Floats, variance: Floats
    ) -> None:
        """Sets, for measured paths, the expectation without the prefix's own samples."""
        path = Paths(
            self.which[here], self.entries.regions[here], self.entries.mean_ms[here],
            self.spread[here], self.noise[here],
        )  # fmt: skip
        off = self.tree.inherited_of(path, here)
        cells = self.cells[self.which[here]]
        expected = self.prior.expect(self.terrain.distances_km[cells, path.region], path.region)
        mean[rows] = expected + self.access[path.prefix] + path.spread_ms * off[0]
        variance[rows] = (path.spread_ms * off[1]) ** 2 + self.access_variance[path.prefix]

    def _inherited(
        self, groups: Ints, cells: Ints, *, prefix: bool
    ) -> tuple[Posterior, npt.NDArray[np.int8]]:
        """The posterior of the group, or of its country if the group is unknown; and its source."""
        countries = self.terrain.countries[cells]
        mean = self.tree.countries.mean[countries]
        variance = (
            self.tree.countries.variance[countries] + self.tree.between_groups[countries, None]
        )
        source = np.where(self.tree.countries.variance[countries] * 2 < LEVEL_VARIANCE, 1, 0)
        known = np.flatnonzero(groups >= 0)
        held = groups[known]
        mean[known] = self.tree.group_knows.mean[held]
        variance[known] = self.tree.group_knows.variance[held]
        informed = self.tree.groups.precision[held] * self.tree.group_expects.variance[held] > 1
        source[known] = np.where(informed, 2, source[known])
        within = np.full(len(cells), LEVEL_VARIANCE)
        within[known] = self.tree.groups.variance[held]
        if prefix:
            variance = variance + within[:, None]
        return Posterior(mean, variance), source.astype(np.int8)

    def _relocated(self, strays: Ints) -> tuple[Floats, Floats]:
        """Mean and variance for mislocated prefixes, from the cells that fit their paths."""
        renumber = np.full(len(self.prefixes), -1)
        renumber[strays] = np.arange(len(strays))
        here = renumber[self.which] >= 0
        popular = np.bincount(self.cells[~self.lost], minlength=len(self.terrain.distances_km))
        sites = np.argsort(-popular, kind="stable")[:_SITES]
        sites = sites[popular[sites] > 0] if popular.any() else sites
        rows = (
            renumber[self.which[here]], self.entries.regions[here], self.entries.mean_ms[here],
            self.noise[here] + ACCESS_MS**2,
        )  # fmt: skip
        return placing.relocate(
            rows, self.cells[strays], sites, popular[sites].astype(np.float64) + 1.0,
            self.terrain.distances_km, self.prior,
        )  # fmt: skip
