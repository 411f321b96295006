"""The fitted RTT model as of one time, and its estimates; see `firsthop_steering.rtt.tree`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.rtt import placing
from firsthop_steering.rtt.agreement import Entries
from firsthop_steering.rtt.estimates import Estimates, Terrain
from firsthop_steering.rtt.exploration import CONFIDENCE
from firsthop_steering.rtt.levels import ACCESS_MS, Groups, LevelTree, Paths
from firsthop_steering.rtt.prior import Prior, spread_ms
from firsthop_steering.rtt.tree import LEVEL_VARIANCE, Posterior

_SITES = 400
"""Number of cells, those with most prefixes, at which a mislocated prefix is tried."""


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
    doubtful: Mask
    """Mask of the entries that do not count."""
    slow: Mask
    """Mask of doubtful entries that are surprisingly slow: each may be as well true as false."""
    discredited: int
    """Number of reports that do not count because of their token."""

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
        self._put_slow(here, rows, mean, variance)
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

    def _put_slow(
        self, here: Ints, rows: tuple[Ints, Ints], mean: Floats, variance: Floats
    ) -> None:
        """Sets surprisingly slow paths half-way, as uncertain as they were in the lower bound.

        So no client depends on them, and clients go on to try them.
        """
        slow = self.slow[here]
        at = (rows[0][slow], rows[1][slow])
        half = np.maximum(self.entries.mean_ms[here[slow]] - mean[at], 0.0) / 2
        mean[at] += half
        variance[at] += (half / CONFIDENCE) ** 2

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
