"""Movement of clients between regions, from the decisions of two compiled services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.compile.preferences import numbered
from firsthop_steering.whatif.sim_population import SPREAD, SimPopulation
from firsthop_steering.whatif.sim_side import NOWHERE, Codes, Sent
from firsthop_steering.whatif.simulation import CountryMove

MAX_COUNTRIES = 10
"""Maximum number of countries in a result."""
_Part = tuple[int, int, float]
"""Source, target, and the share of the buckets that moves from source to target."""


class Movement(NamedTuple):
    """Clients with their regions before and after the change; parallel arrays."""

    weights: Floats
    cells: npt.NDArray[np.uint32]
    """NO_CELL if not located."""
    old_columns: Ints
    new_columns: Ints
    sources: Codes
    targets: Codes

    @property
    def moving(self) -> npt.NDArray[np.bool_]:
        """Mask of the clients that had a region and get another one, or none."""
        moving: npt.NDArray[np.bool_] = self.sources != self.targets
        moving &= self.sources != NOWHERE
        return moving

    @property
    def moved(self) -> float:
        """Share of all clients that are moving; 0 if there are no clients."""
        total = float(self.weights.sum())
        return float(self.weights[self.moving].sum()) / total if total else 0.0

    def countries(self, geo: GeoTable) -> tuple[CountryMove, ...]:
        """The countries with most moving clients, largest share first; at most MAX_COUNTRIES."""
        known, code = geo.country_codes
        names = [*known, ""]  # for unlocated clients, if the table itself has no ""
        mine = np.full(len(self.cells), names.index(""), dtype=np.int64)
        located = self.cells != NO_CELL
        mine[located] = code[self.cells[located]]
        everyone = np.bincount(mine, weights=self.weights, minlength=len(names))
        movers = np.bincount(mine, weights=self.weights * self.moving, minlength=len(names))
        total = float(self.weights.sum())
        return tuple(
            CountryMove(
                country=names[each],
                share=share(movers[each] / total),
                of_country=share(movers[each] / everyone[each]),
            )
            for each in np.argsort(-movers, kind="stable")[:MAX_COUNTRIES].tolist()
            if movers[each] > 0
        )

    def matrix(self, regions: int) -> Floats:
        """Weights, sources × targets; the last row and column stand for no region."""
        size = regions + 1
        sources, targets = self.sources.astype(np.int64), self.targets.astype(np.int64)
        cells_of_matrix = (sources % size) * size + targets % size
        counted = np.bincount(cells_of_matrix, weights=self.weights, minlength=size * size)
        return counted.astype(np.float64).reshape(size, size)


def share(value: float) -> float:
    """A share as results have it: 0 to 1, six decimals."""
    return round(min(max(float(value), 0.0), 1.0), 6)


def concatenated(movement: Sequence[Movement]) -> Movement:
    """Concatenates movements."""
    return Movement(*(np.concatenate(each) for each in zip(*movement, strict=True)))


def movements_of(populations: Sequence[SimPopulation], before: Sent, after: Sent) -> list[Movement]:
    """The movement of each population's clients."""
    known: dict[int, list[_Part]] = {}
    return [
        _movement(
            population,
            (before.rows, after.rows),
            (before.decisions[index], after.decisions[index]),
            (before.columns[index], after.columns[index]),
            known,
        )
        for index, population in enumerate(populations)
    ]


def _movement(
    population: SimPopulation,
    rows: tuple[Codes, Codes],
    decisions: tuple[Ints, Ints],
    columns: tuple[Ints, Ints],
    known: dict[int, list[_Part]],
) -> Movement:
    """The movement of one population.

    A range whose decisions depend on the bucket is split into one element per pair of regions. The
    regions of each bucket are exact; that clients of a range are spread evenly over buckets is an
    approximation for ranges of few prefixes. `known` caches the parts of each pair of decisions.
    """
    if (population.buckets != SPREAD).any():
        sources, targets = (
            row[chosen, population.buckets] for row, chosen in zip(rows, decisions, strict=True)
        )
        return Movement(population.weights, population.cells, *columns, sources, targets)
    pairs = decisions[0] * len(rows[1]) + decisions[1]
    distinct, which = numbered(pairs, len(rows[0]) * len(rows[1]))
    for pair in distinct.tolist():
        if pair not in known:
            old, new = divmod(pair, len(rows[1]))
            known[pair] = _shares(rows[0][old], rows[1][new])
    shares = [known[pair] for pair in distinct.tolist()]
    parts = np.array([len(each) for each in shares], dtype=np.int64)
    sources, targets, share = np.array([row for each in shares for row in each]).reshape(-1, 3).T
    element, row = _repeated(parts, which)
    return Movement(
        population.weights[element] * share[row],
        population.cells[element],
        columns[0][element],
        columns[1][element],
        sources.astype(np.int16)[row],
        targets.astype(np.int16)[row],
    )


def _repeated(parts: Ints, which: Ints) -> tuple[Ints, Ints]:
    """Repeats each element once per part of its pair: element indexes, and rows of the parts."""
    firsts = np.cumsum(parts) - parts
    if (parts == 1).all():
        return np.arange(len(which)), which
    times = parts[which]
    element = np.repeat(np.arange(len(which)), times)
    nth = np.arange(len(element)) - np.repeat(np.cumsum(times) - times, times)
    return element, firsts[which[element]] + nth


def _shares(before: Codes, after: Codes) -> list[_Part]:
    """The parts (source, target, share of the buckets) of one pair of decisions."""
    packed = (before.astype(np.int64) << 16) + (after.astype(np.int64) - NOWHERE)
    pairs, counts = np.unique(packed, return_counts=True)
    return [
        (pair >> 16, (pair & 0xFFFF) + NOWHERE, count / len(packed))
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
