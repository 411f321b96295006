"""Whom a simulation asks for: every located address of a family, or single clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL, GeoTable, normalise
from firsthop_steering.atlas import Atlas, Pool
from firsthop_steering.rendezvous import BUCKETS, bucket
from firsthop_steering.rtt_map import Pieces, RttMap
from firsthop_steering.table import ASK_RESOLVER, CompiledService, RangeTable
from firsthop_steering.walks import Ints

Codes = npt.NDArray[np.int16]
"""Regions by number, NOWHERE for none."""
NOWHERE = -1
"""The code of a client that no region answers."""
SPREAD = -1
"""The bucket of a range: its clients are in all buckets alike."""

_LAST = {4: (1 << 32) - 1, 6: (1 << 64) - 1}


@dataclass(frozen=True, slots=True)
class Crowd:
    """Clients of one family, one element each: a range of addresses or one client."""

    family: Literal[4, 6]
    keys: npt.NDArray[np.uint64]
    """The client, or the first key of the range."""
    weights: npt.NDArray[np.float64]
    cells: Ints
    """-1 where not located."""
    buckets: Ints

    def columns(self, rtt: RttMap, pool: Pool) -> Ints:
        """The column of each, as `RttMap.column` says it."""
        columns = np.where(self.cells < 0, rtt.unlocated, self.cells)
        pieces = rtt.pieces(pool, self.family)
        if len(pieces.firsts):
            place = np.maximum(np.searchsorted(pieces.firsts, self.keys, side="right") - 1, 0)
            within = (pieces.firsts[place] <= self.keys) & (self.keys <= pieces.lasts[place])
            columns = np.where(within, pieces.columns[place], columns)
        return columns


def everybody(
    geo: GeoTable, family: Literal[4, 6], tables: Sequence[RangeTable], pieces: Sequence[Pieces]
) -> Crowd:
    """All keys that the geo table places, in ranges that lie within one range of each table.

    And within or without each of the pieces, whose round trips are their own.

    An IPv4 address weighs 1. How much IPv6 space somebody has says nothing of how many they are, so
    the IPv6 ranges of a cell weigh as much as its IPv4 addresses do, in proportion to their sizes.
    """
    starts, cells = (geo.v4_starts, geo.v4_cells) if family == 4 else (geo.v6_starts, geo.v6_cells)
    edges = [each.starts.astype(np.uint64) for each in tables]
    for each in pieces:
        edges += [each.firsts, each.lasts[each.lasts < _LAST[family]] + np.uint64(1)]
    keys = _cut(starts.astype(np.uint64), edges)
    found = cells[np.searchsorted(starts, keys.astype(starts.dtype), side="right") - 1]
    located = found != NO_CELL
    places = found[located].astype(np.int64)
    sizes = _sizes(keys, family)[located]
    if family == 6:
        space = np.bincount(places, weights=sizes, minlength=len(geo))
        sizes = sizes * (_addresses(geo) / np.maximum(space, 1))[places]
    spread = np.full(len(places), SPREAD, dtype=np.int64)
    return Crowd(family, keys[located], sizes, places, spread)


def _addresses(geo: GeoTable) -> npt.NDArray[np.float64]:
    """IPv4 addresses of each cell."""
    located = geo.v4_cells != NO_CELL
    sizes = _sizes(geo.v4_starts.astype(np.uint64), 4)[located]
    counted = np.bincount(geo.v4_cells[located].astype(np.int64), sizes, minlength=len(geo))
    return counted.astype(np.float64)


def _sizes(starts: npt.NDArray[np.uint64], family: Literal[4, 6]) -> npt.NDArray[np.float64]:
    """Keys of each range."""
    return np.diff(starts.astype(np.float64), append=float(_LAST[family] + 1))


def listed(
    atlas: Atlas, addresses: Sequence[IPv4Address | IPv6Address], family: Literal[4, 6]
) -> Crowd:
    """Those of `addresses` that are clients of `family` once normalised; each counts once."""
    keys = [key for its, key, _ in map(normalise, addresses) if its == family]
    cells = np.array([atlas.geo.find_cell(family, key) for key in keys], dtype=np.int64)
    return Crowd(
        family,
        np.array(keys, dtype=np.uint64),
        np.ones(len(keys)),
        np.where(cells == NO_CELL, -1, cells),
        np.array([bucket(family, key) for key in keys], dtype=np.int64),
    )


class Regions:
    """Which region each decision of a compiled service sends each bucket to, by a code."""

    def __init__(self, compiled: CompiledService | None, codes: dict[str, int]) -> None:
        """`codes` numbers the regions; None: there is no such service, so nobody is answered."""
        self._compiled = compiled
        if compiled is None:
            self.rows: Codes = np.full((1, BUCKETS), NOWHERE, dtype=np.int16)
            return
        of_answer = [codes[each.region] if each.region else NOWHERE for each in compiled.answers]
        named = np.array([*of_answer, NOWHERE], dtype=np.int16)
        decisions = compiled.decisions.astype(np.int64)
        decisions = np.where(decisions == ASK_RESOLVER, decisions[compiled.unlocated], decisions)
        self.rows = np.repeat(named[np.maximum(decisions, 0)][:, None], BUCKETS, axis=1)
        split = np.flatnonzero(decisions < ASK_RESOLVER)
        self.rows[split] = named[compiled.rows[-2 - decisions[split]]]
        """Decision × bucket → code."""

    def decisions(self, crowd: Crowd) -> Ints:
        """The decision of each element, an index of `rows`."""
        if self._compiled is None:
            return np.zeros(len(crowd.keys), dtype=np.int64)
        table = self._compiled.v4 if crowd.family == 4 else self._compiled.v6
        keys = crowd.keys.astype(table.starts.dtype)
        places = np.searchsorted(table.starts, keys, side="right") - 1
        return table.decisions[places].astype(np.int64)


def _cut(
    starts: npt.NDArray[np.uint64], more: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.uint64]:
    """Ascending `starts`, cut at the starts of other tables too; few of these are not in it."""
    for each in more:
        places = np.searchsorted(starts, each)
        new = starts[np.minimum(places, len(starts) - 1)] != each
        starts = np.insert(starts, places[new], each[new])
    return starts
