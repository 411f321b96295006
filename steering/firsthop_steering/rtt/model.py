"""The RTT model: takes samples, and fits a `Learned` to them on request.

The fit decides which entries count, and which prefixes are mislocated. All is pure: time and the
locations of prefixes are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from firsthop_steering.arrays import Floats, Mask
from firsthop_steering.rtt import placing
from firsthop_steering.rtt.agreement import BAND, Entries, Reports, agreed
from firsthop_steering.rtt.credit import Credit, credit_of
from firsthop_steering.rtt.estimates import Locate, Terrain
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.ledger import Ledger, LedgerRows
from firsthop_steering.rtt.levels import ACCESS_MS, Groups, LevelTree, Paths, common_ms
from firsthop_steering.rtt.physics import contradicted
from firsthop_steering.rtt.prior import fit_prior, spread_ms
from firsthop_steering.rtt.samples import MAX_RTT_MS, MIN_RTT_MS, Samples

MAX_REPORTS_KEPT = 4_000_000
"""Stored reports, 96 MB: a million prefixes with four measured regions each."""
MANY_SOURCES, MANY_REPORTS = 2.5, 7.5
"""Agreeing sources, or reports, by weight, from which on a round trip faster than light proves the
location wrong; with fewer of both it is taken for a lie."""
FEW = 2.5
"""Agreeing reports, by weight, below which a surprising round trip does not count yet."""
SURPRISE = 3.0
"""Standard deviations from the expectation above which a round trip is surprising."""
_UNKNOWN_MS2 = 1e12
"""The variance of what must not count."""
ABOUT_AS_MANY = 0.75
"""Share of the votes for a side of divided votes that suffices against it."""


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
        self.newcomer = np.bincount(reports.entry, within & ~credit.is_new, len(entries)) == 0
        self.slow = np.zeros(len(entries), dtype=bool)
        self._judge()

    def _judge(self) -> None:
        """Finds the entries that cannot count, and the prefixes whose location must be wrong."""
        entries = self.entries
        is_located = self.cells[self.which] < len(self.terrain.distances_km) - 1
        too_fast = is_located & placing.outruns_light(entries.mean_ms, self.distance)
        few = (entries.votes < MANY_SOURCES) & (entries.count < MANY_REPORTS)
        self.doubtful = self.newcomer & ~entries.is_backed | too_fast & few
        self.doubtful |= contradicted(entries, self.which, self.terrain.distances_km)
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
            which, spread, noise, access, access_variance, self.lost, self.doubtful, self.slow,
            discredited,
        )  # fmt: skip

    def _arbitrate(self, usual: Floats, doubt: Floats) -> None:
        """Where votes are divided, weighs each report by what is usual in the region.

        In a prefix whose location is unknown, the faster side is right. Either way it is the slower
        one if the other cannot be true beside the prefix's other paths.
        """
        divided = self.entries.doubt_ms > 0
        here = divided[self.reports.entry]
        if not here.any():
            return
        entry = self.reports.entry[here]
        rtt = self.reports.rows.rtt_ms[here]
        reach = np.hypot(doubt, self.entries.noise_ms)[entry]
        likely = np.where(
            self.lost[self.which[entry]],
            (rtt + ACCESS_MS) ** -2.0,
            np.exp(-placing.cost((rtt - usual[entry]) / reach)),
        )
        self._divide(divided, likely)
        false = divided & contradicted(
            self.entries, self.which, self.terrain.distances_km, ABOUT_AS_MANY
        )
        slower = rtt > (self.entries.mean_ms + BAND * self.entries.noise_ms)[entry]
        false &= np.bincount(entry, slower, len(false)) > 0
        if false.any():
            self._divide(divided, np.where(false[entry], slower, likely))
        self._judge()

    def _divide(self, divided: Mask, likely: Floats) -> None:
        """Sets the entries of a mask to what their reports agree on, weighed by these factors."""
        here = divided[self.reports.entry]
        reports = Reports.of(self.reports.rows.take(here), self.reports.weights[here])
        found, _ = agreed(reports, self.credit.credit[here] * likely)
        self.entries = self.entries.replaced(divided, found)

    def _doubt(self, usual: Floats, doubt: Floats) -> None:
        """Doubts surprising entries of few reports, and the locations of prefixes with others."""
        entries = self.entries
        misfit = np.abs(entries.mean_ms - usual) / np.sqrt(doubt**2 + entries.variance)
        surprising = (misfit > SURPRISE) & (entries.count < FEW) & ~self.doubtful
        self.slow |= surprising & (entries.mean_ms > usual)
        self.doubtful |= surprising
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


@dataclass(slots=True)
class RttModel:
    """The stored reports; `counts` has samples by result."""

    ledger: Ledger = field(default_factory=lambda: Ledger(MAX_REPORTS_KEPT))
    counts: dict[str, int] = field(default_factory=lambda: {"taken": 0, "out_of_range": 0})

    def observe(self, samples: Samples, *, now: int) -> None:
        """Adds a batch; `now` is in seconds and must not decrease."""
        sane = (samples.rtt_ms >= MIN_RTT_MS) & (samples.rtt_ms <= MAX_RTT_MS)
        self.counts["out_of_range"] += int((~sane).sum())
        self.counts["taken"] += int(sane.sum())
        self.ledger.add(samples.take(sane), now=now)

    def learn(self, terrain: Terrain, locate: Locate, *, now: int) -> Learned:
        """Fits the model to all samples stored so far."""
        rows = self.ledger.alive(now=now)
        return learn(
            rows.take(rows.regions < terrain.distances_km.shape[1]), terrain, locate, now=now
        )
