"""The fitted RTT model as of one time, and its estimates; see `firsthop_steering.rtt.tree`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.rtt import placing
from firsthop_steering.rtt.agreement import Entries, Reports, agreed
from firsthop_steering.rtt.credit import Credit, credit_of
from firsthop_steering.rtt.estimates import Estimates, Locate, Terrain
from firsthop_steering.rtt.ledger import LedgerRows
from firsthop_steering.rtt.levels import ACCESS_MS, Groups, LevelTree, Paths, common_ms
from firsthop_steering.rtt.physics import contradicted
from firsthop_steering.rtt.prior import Prior, fit_prior, spread_ms
from firsthop_steering.rtt.tree import LEVEL_VARIANCE, Posterior

_SITES = 400
"""Number of cells, those with most prefixes, at which a mislocated prefix is tried."""


MANY_SOURCES, MANY_REPORTS = 2.5, 7.5
"""Agreeing sources, or reports, by weight, from which on a round trip faster than light proves the
location wrong; with fewer of both it is taken for a lie."""
FEW = 2.5
"""Agreeing reports, by weight, below which a surprising round trip does not count yet."""
SURPRISE = 3.0
"""Standard deviations from the expectation above which a round trip is surprising."""
_UNKNOWN_MS2 = 1e12
"""The variance of what must not count."""


def learn(rows: LedgerRows, terrain: Terrain, locate: Locate, *, now: int) -> Learned:
    """Fits the model to reports, as of `now`."""
    reports = Reports.of(rows, rows.weights(now=now))
    entries, within = agreed(reports, np.ones(len(rows)))
    credit = credit_of(reports, entries, within)
    if (credit.credit < 1).any():
        heard = credit.credit > 0
        reports = Reports.of(rows.take(heard), reports.weights[heard])
        credit = Credit(credit.credit[heard], credit.is_new[heard])
        entries, within = agreed(reports, credit.credit)
    discredited = len(rows) - len(reports.rows)
    return _Fit(reports, credit, entries, within, terrain, locate).learned(discredited)


class _Fit:
    """One fit: the entries, which of them are doubtful, and which prefixes are mislocated."""

    def __init__(
        self, reports: Reports, credit: Credit, entries: Entries, within: Mask, terrain: Terrain,
        locate: Locate,
    ) -> None:  # fmt: skip
        self.reports, self.credit, self.entries, self.terrain = reports, credit, entries, terrain
        self.prefixes, self.which = np.unique(entries.prefixes, return_inverse=True)
        self.cells, asns = locate(self.prefixes)
        self.groups = Groups.of(self.cells, asns, terrain)
        self.distance = terrain.distances_km[self.cells[self.which], entries.regions]
        newcomer = np.bincount(reports.entry, within & ~credit.is_new, len(entries)) == 0
        self.doubtful = contradicted(entries, self.which, terrain.distances_km)
        self.doubtful |= newcomer & ~entries.is_backed
        is_located = self.cells[self.which] < len(terrain.distances_km) - 1
        too_fast = is_located & placing.outruns_light(entries.mean_ms, self.distance)
        few = (entries.votes < MANY_SOURCES) & (entries.count < MANY_REPORTS)
        self.doubtful |= too_fast & few
        self.lost = self._any(too_fast & ~self.doubtful)

    def learned(self, discredited: int) -> Learned:
        """The fit: two rounds, of which the second knows what to doubt."""
        entries, which = self.entries, self.which
        usable = entries.is_backed & ~self.doubtful & ~self.lost[which]
        regions = self.terrain.distances_km.shape[1]
        prior = fit_prior(
            self.distance[usable], entries.regions[usable], entries.mean_ms[usable], count=regions
        )
        expected = prior.expect(self.distance, entries.regions)
        scale = _scale((entries.mean_ms - expected)[usable], spread_ms(expected)[usable])
        spread = spread_ms(expected) * scale
        off, deviation = np.zeros(len(which)), np.zeros(len(which))
        for turn in range(2):
            entries, lonely = self.entries, (spread * deviation) ** 2 * ~self.entries.is_backed
            noise = np.where(self.doubtful, _UNKNOWN_MS2, entries.variance + lonely)
            path = Paths(which, entries.regions, entries.mean_ms - expected, spread, noise)
            access, access_variance = common_ms(path, off, len(self.prefixes))
            trusted = entries.is_backed & ~self.doubtful & ~self.lost[which]
            tree = LevelTree.grow(path, access, trusted, self.groups, self.terrain)
            off, deviation = tree.inherited_of(path, slice(None))
            usual = expected + access[which] + spread * off
            doubt = np.sqrt((spread * deviation) ** 2 + access_variance[which])
            if turn == 0:
                self._arbitrate(usual, doubt)
            self._doubt(usual, doubt)
        noise = np.where(self.doubtful, _UNKNOWN_MS2, noise)
        return Learned(
            self.terrain, prior, scale, self.groups, tree, self.prefixes, self.cells, self.entries,
            which, spread, noise, access, access_variance, self.lost, self.doubtful, discredited,
        )  # fmt: skip

    def _arbitrate(self, usual: Floats, doubt: Floats) -> None:
        """Where votes are divided, weighs each report by what is usual in the region."""
        divided = (self.entries.doubt_ms > 0) & ~self.lost[self.which]
        here = divided[self.reports.entry]
        if not here.any():
            return
        entry = self.reports.entry[here]
        rows = self.reports.rows.take(here)
        reach = np.hypot(doubt, self.entries.noise_ms)[entry]
        likely = np.exp(-placing.cost((rows.rtt_ms - usual[entry]) / reach))
        reports = Reports.of(rows, self.reports.weights[here])
        found, _ = agreed(reports, self.credit.credit[here] * likely)
        self.entries = self.entries.replaced(divided, found)

    def _doubt(self, usual: Floats, doubt: Floats) -> None:
        """Doubts surprising entries of few reports, and the locations of prefixes with others."""
        entries = self.entries
        misfit = np.abs(entries.mean_ms - usual) / np.sqrt(doubt**2 + entries.variance)
        self.doubtful |= (misfit > SURPRISE) & (entries.count < FEW)
        self.lost |= self._any((misfit > placing.MISFIT) & ~self.doubtful)

    def _any(self, entries: Mask) -> Mask:
        """The prefixes that have one of these entries."""
        found: Mask = np.bincount(self.which[entries], minlength=len(self.prefixes)) > 0
        return found


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
    doubtful: Mask
    """Mask of the entries that do not count."""
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
