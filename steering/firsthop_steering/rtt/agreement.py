"""What the reports of one (prefix, region) agree upon, and how much they disagree.

Every source has one vote, however many reports it sends. An entry is the mean of the reports around
the shortest interval with three quarters of the votes: up to a quarter of the votes may say
anything. If no such interval is short, the votes are divided, and their disagreement does not
average out. Then the reports may be weighed once more by what is expected from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.rtt.ledger import LedgerRows
from firsthop_steering.rtt.sources import are_clients, tokens_of

NOISE_BASE_MS, NOISE_SHARE = 1.0, 0.05
"""Expected deviation of a sample before any was seen: access jitter, and queues on the path."""
_NOISE_WEIGHT = 4.0
"""Weight, in reports, of that expectation in an entry's noise."""
MAJORITY = 0.75
"""Share of the votes that must agree."""
CORE = 0.4
"""Share of the votes whose interval shows how wide the path's own noise is."""
CORE_WIDTHS = 4.0
"""Widths of the core within which a majority agrees; 2.7 are usual for queues (exponential), 2.2
for normal noise."""
BAND = 3.0
"""Deviations within which a report belongs to the agreement."""
_WIDTHS = (2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Entries:
    """What is known of each (prefix, region), ascending; `noise_ms` is the deviation of a report.

    The variance of the mean is `noise_ms² / count + doubt_ms²`.
    """

    prefixes: Keys
    regions: Ints
    count: Floats
    """Agreeing reports, by weight."""
    mean_ms: Floats
    noise_ms: Floats
    doubt_ms: Floats
    """By how much the votes disagree beyond their noise; more reports do not lessen it."""
    votes: Floats
    """Agreeing sources, by weight."""
    is_backed: Mask
    """Whether clients themselves, or two tokens, are among the agreeing sources."""

    def __len__(self) -> int:
        return len(self.regions)

    def take(self, which: Mask) -> Entries:
        """The entries of a mask."""
        return Entries(*(getattr(self, name)[which] for name in Entries.__slots__))

    def replaced(self, which: Mask, found: Entries) -> Entries:
        """These entries, with others in place of those of a mask."""
        columns = []
        for name in Entries.__slots__:
            column = getattr(self, name).copy()
            column[which] = getattr(found, name)
            columns.append(column)
        return Entries(*columns)

    @property
    def variance(self) -> Floats:
        """The variance of the mean."""
        variance: Floats = self.noise_ms**2 / self.count + self.doubt_ms**2
        return variance


@dataclass(frozen=True, slots=True)
class Reports:
    """Reports with their weights, and the entry to which each belongs."""

    rows: LedgerRows
    weights: Floats
    entry: Ints
    starts: Ints
    """The first report of each entry."""

    @classmethod
    def of(cls, rows: LedgerRows, weights: Floats) -> Reports:
        """Reports ascending by key."""
        first = np.ones(len(rows), dtype=bool)
        first[1:] = rows.keys[1:] != rows.keys[:-1]
        return cls(rows, weights, np.cumsum(first) - 1, np.flatnonzero(first))


def noise_ms(mean_ms: Floats) -> Floats:
    """Expected standard deviation of a sample with this mean RTT."""
    return NOISE_BASE_MS + NOISE_SHARE * mean_ms


def agreed(reports: Reports, credit: Floats) -> tuple[Entries, Mask]:
    """The entries, and a mask of the reports that belong to the agreement of their entry.

    `credit` is a factor for the vote of each report. Reports without credit are in no agreement.
    """
    rows, entry, count = reports.rows, reports.entry, len(reports.starts)
    rtt = rows.rtt_ms.astype(np.float64)
    votes = _votes(reports) * credit
    low, high, core = _intervals(rtt, votes, reports)
    middle = (low + high) / 2
    reach = BAND * np.maximum(noise_ms(middle), (high - low) / 2)
    within = (np.abs(rtt - middle[entry]) <= reach[entry]) & (votes > 0)
    mass: Floats = np.bincount(entry, votes * within, count).astype(np.float64)
    mean = np.bincount(entry, votes * within * rtt, count) / np.maximum(mass, 1e-12)
    weights = reports.weights * within * np.minimum(credit, 1.0)
    total = np.bincount(entry, weights, count)
    expected = noise_ms(mean)
    squares = np.bincount(entry, weights * (rtt - mean[entry]) ** 2, count)
    noise = np.sqrt((_NOISE_WEIGHT * expected**2 + squares) / (_NOISE_WEIGHT + total))
    doubt = np.maximum(high - low - CORE_WIDTHS * core - BAND * expected, 0.0)
    found = Entries(
        rows.prefixes[reports.starts], rows.regions[reports.starts], np.maximum(total, 1e-9), mean,
        np.maximum(noise, expected / 4), doubt, mass, _backed(reports, within),
    )  # fmt: skip
    return found, within


def _votes(reports: Reports) -> Floats:
    """The vote of each report: its weight, divided by the number of reports of its source."""
    order = np.lexsort((reports.rows.sources, reports.entry))
    entry, sources = reports.entry[order], reports.rows.sources[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (entry[1:] != entry[:-1]) | (sources[1:] != sources[:-1])
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, len(order)))
    votes = np.empty(len(order))
    votes[order] = reports.weights[order] / np.repeat(sizes, sizes)
    return votes


def _backed(reports: Reports, within: Mask) -> Mask:
    """Whether clients or two tokens agree, for each entry."""
    count = len(reports.starts)
    client = np.bincount(reports.entry, within & are_clients(reports.rows.sources), count) > 0
    tokens = tokens_of(reports.rows.sources).astype(np.float64)
    least = np.full(count, np.inf)
    most = np.full(count, -np.inf)
    np.minimum.at(least, reports.entry[within], tokens[within])
    np.maximum.at(most, reports.entry[within], tokens[within])
    backed: Mask = client | (least < most)
    return backed


def _intervals(rtt: Floats, votes: Floats, reports: Reports) -> tuple[Floats, Floats, Floats]:
    """The shortest interval of each entry with MAJORITY of the votes, and the width of that with
    CORE."""
    count = len(reports.starts)
    low, high, core = np.zeros(count), np.zeros(count), np.zeros(count)
    order = np.lexsort((rtt, reports.entry))
    sizes = np.diff(np.append(reports.starts, len(rtt)))
    done = 0
    for width in _WIDTHS:
        chosen = np.flatnonzero((sizes > done) & (sizes <= width))
        done = width
        columns = np.arange(width)
        places = reports.starts[chosen][:, None] + columns
        absent = columns >= sizes[chosen][:, None]
        at = order[np.minimum(places, max(len(order) - 1, 0))]
        values = np.where(absent, np.inf, rtt[at])
        mass = np.where(absent, 0.0, votes[at])
        low[chosen], high[chosen] = _shortest(values, mass, MAJORITY)
        least, most = _shortest(values, mass, CORE)
        core[chosen] = most - least
    return low, high, core


def _shortest(values: Floats, mass: Floats, share: float) -> tuple[Floats, Floats]:
    """Ends of the shortest interval with `share` of each row's mass; values ascend in a row."""
    total = np.cumsum(mass, axis=1)
    need = share * total[:, -1] - 1e-9
    rows, width = np.arange(len(values)), values.shape[1]
    best = np.full(len(values), np.inf)
    low, high = values[:, 0].copy(), values[:, 0].copy()
    for start in range(width):
        target = total[:, start] - mass[:, start] + need
        end = np.minimum((total < target[:, None]).sum(axis=1), width - 1)
        with np.errstate(invalid="ignore"):
            length = values[rows, end] - values[:, start]
        shorter = (total[:, -1] >= target) & (mass[:, start] > 0) & (length < best)
        best = np.where(shorter, length, best)
        low = np.where(shorter, values[:, start], low)
        high = np.where(shorter, values[rows, end], high)
    return low, high
