"""The simulated clients: every located address of a family, or a list of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL, GeoTable, normalise
from firsthop_steering.arrays import Ints, Keys
from firsthop_steering.compile.client_classes import LAST_KEY, ClientClasses
from firsthop_steering.decision.rendezvous import bucket
from firsthop_steering.decision.topology import Topology

SPREAD = -1
"""Bucket value of a range, whose clients are spread evenly over all buckets."""
_ROUNDING = 1e-12
"""Remainders of a cell below this share are rounding errors and count as empty."""


@dataclass(frozen=True, slots=True)
class SimPopulation:
    """Clients of one family; an element is an address range, the rest of a cell, or one client."""

    family: Literal[4, 6]
    keys: Keys | None
    """The client, or the first key of the range, ascending. None: element i stands for the clients
    of cell i that are outside all split ranges."""
    weights: npt.NDArray[np.float64]
    cells: npt.NDArray[np.uint32]
    """NO_CELL if not located."""
    buckets: Ints

    def within(self, classes: ClientClasses) -> Ints:
        """The client class of each element."""
        if self.keys is None:
            return classes.of_cells()
        return classes.settled(classes.of_keys(self.family, self.keys, self.cells))


def whole_population(
    geo: GeoTable, family: Literal[4, 6], split_ranges: Sequence[tuple[Keys, Keys]]
) -> tuple[SimPopulation, SimPopulation]:
    """All keys that the geo table locates: one population by cell, and one of split ranges.

    `split_ranges` are first and last keys of ranges (`ClientClasses.split_ranges`). Each element of
    the second population lies entirely inside or outside each of them; the first population holds
    the rest of each cell as one element.

    An IPv4 address weighs 1. The amount of IPv6 space does not tell the number of clients, so the
    IPv6 ranges of a cell together weigh as much as its IPv4 addresses, in proportion to their size.
    """
    pieces = geo.cut(family, *_parts(split_ranges, LAST_KEY[family]))
    located = pieces.cells != NO_CELL
    keys, cells = pieces.firsts[located], pieces.cells[located]
    sizes = (pieces.lasts[located] - keys).astype(np.float64) + 1
    whole = geo.v4_sizes if family == 4 else geo.v6_sizes
    rest = whole - np.bincount(cells.astype(np.int64), weights=sizes, minlength=len(geo))
    rest[rest <= whole * _ROUNDING] = 0
    if family == 6:
        each = geo.v4_sizes / np.maximum(whole, 1)
        rest, sizes = rest * each, sizes * each[cells]
    cells_of_table = np.arange(len(geo), dtype=np.uint32)
    return (
        SimPopulation(
            family, None, rest, cells_of_table, np.full(len(rest), SPREAD, dtype=np.int64)
        ),
        SimPopulation(family, keys, sizes, cells, np.full(len(keys), SPREAD, dtype=np.int64)),
    )


def _parts(split_ranges: Sequence[tuple[Keys, Keys]], last: int) -> tuple[Keys, Keys]:
    """The union of these ranges, split at the edges of each: ascending and disjoint."""
    firsts, lasts = (np.concatenate(ends) for ends in zip(*split_ranges, strict=True))
    ends = lasts[lasts < last] + np.uint64(1)
    edges = np.unique(np.concatenate([firsts, ends]))
    begun = np.searchsorted(np.sort(firsts), edges, side="right")
    ended = np.searchsorted(np.sort(ends), edges, side="right")
    inside = begun > ended
    behind = np.append(edges[1:] - np.uint64(1), np.uint64(last))[: len(edges)]
    return edges[inside], behind[inside]


def listed_population(
    topology: Topology, addresses: Sequence[IPv4Address | IPv6Address], family: Literal[4, 6]
) -> SimPopulation:
    """The `addresses` that have `family` after normalisation; each weighs 1."""
    keys = sorted(key for its_family, key, _ in map(normalise, addresses) if its_family == family)
    return SimPopulation(
        family,
        np.array(keys, dtype=np.uint64),
        np.ones(len(keys)),
        np.array([topology.geo.find_cell(family, key) for key in keys], dtype=np.uint32),
        np.array([bucket(family, key) for key in keys], dtype=np.int64),
    )
