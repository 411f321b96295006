"""Expected round-trip times between all clients and all sites of a topology.

Clients are grouped into columns: one per cell of the geo table, one for all unlocated clients, and
one per learned prefix (split where its cell changes). Learned latency covers relay regions; other
pools, and regions without learned latency, use the geographic prior. A map changes with the
topology or with learned latency, never with health, load or prices.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.arrays import Ints
from firsthop_steering.decision.topology import Client, Pool, Topology, key_range
from firsthop_steering.feed.snapshot import Latency, Plan
from firsthop_steering.rtt.prior import spread_ms
from firsthop_steering.rtt.samples import keys_of_prefixes, parse_prefix

RttSource = Literal["prefix", "country", "prior", "unlocated"]
"""Source of an RTT: samples of the client's prefix, of its country, the prior by distance, or the
mean over all cells."""


@dataclass(frozen=True, slots=True)
class ColumnRanges:
    """Key ranges of one family with a column of their own: ascending and disjoint."""

    firsts: npt.NDArray[np.uint64]
    lasts: npt.NDArray[np.uint64]
    columns: Ints


_NO_PIECES = ColumnRanges(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


class RttMap:
    """RTT columns of one topology under one learned latency; see the module."""

    def __init__(self, topology: Topology, latency: Latency | None = None) -> None:
        self.topology = topology
        self.latency = latency
        self.unlocated = len(topology.geo.latitudes)
        """The column of unlocated clients."""
        self._pieces: dict[int, ColumnRanges] = {4: _NO_PIECES, 6: _NO_PIECES}
        self._firsts: dict[int, array[int]] = {}
        self._lasts: dict[int, array[int]] = {}
        self._relays: Ints | None = None
        self._measured = np.zeros((len(topology.pools["relays"]), 0), dtype=np.bool_)
        """Sites × learned columns: whether the prefix has a measured value for the site."""
        self._parents = np.empty(0, dtype=np.int64)
        """For each learned column the column that its clients would otherwise be in."""
        if latency is not None:
            self._relays = self._learned(latency)
            self._firsts = {f: array("Q", p.firsts.tolist()) for f, p in self._pieces.items()}
            self._lasts = {f: array("Q", p.lasts.tolist()) for f, p in self._pieces.items()}

    @classmethod
    def following(
        cls, former: RttMap | None, plan: Plan, geo: GeoTable, latency: Latency | None
    ) -> RttMap:
        """The map of a plan, which reuses the still valid parts of the `former` map.

        The whole map is reused if no site moved and `latency` is the same object; nothing is reused
        with another geo table.
        """
        if former is None or former.topology.geo is not geo:
            return cls(Topology(plan, geo), latency)
        old, is_taught = former.topology, former.latency is latency
        if old.plan is plan:
            return former if is_taught else cls(old, latency)
        topology = Topology(plan, geo, old)
        before, now = (
            [(s.id, s.location) for s in each.pools["relays"]] for each in (old, topology)
        )
        if latency is None or not is_taught or before != now:
            return cls(topology, latency)
        same = copy(former)
        same.topology = topology
        return same

    def rtt_us(self, pool: Pool) -> Ints:
        """Sites × columns in microseconds; pools other than relays have no learned columns.

        The column of unlocated clients holds each site's mean over all cells, so they go to the
        most central site.
        """
        if pool == "relays" and self._relays is not None:
            return self._relays
        return self.topology.rtt_us(pool)

    def pieces(self, pool: Pool, family: int) -> ColumnRanges:
        """The key ranges with a learned column."""
        return self._pieces[family] if pool == "relays" else _NO_PIECES

    def column(self, pool: Pool, client: Client) -> int:
        """The column of this client."""
        firsts = self._firsts.get(client.family)
        if firsts and pool == "relays":
            place = bisect_right(firsts, client.key) - 1
            if place >= 0 and client.key <= self._lasts[client.family][place]:
                return int(self._pieces[client.family].columns[place])
        return self.unlocated if client.cell is None else client.cell

    def sources(self, pool: Pool, column: int) -> list[RttSource]:
        """For each site the source of its RTT in this column."""
        parent, sites = column, len(self.topology.pools[pool])
        own = np.zeros(sites, dtype=np.bool_)
        if column > self.unlocated:
            learned = column - self.unlocated - 1
            parent, own = int(self._parents[learned]), self._measured[:, learned]
        source: RttSource = "unlocated"
        if parent != self.unlocated:
            taught = self.latency.countries if self.latency and pool == "relays" else {}
            source = "country" if self.topology.geo.countries[parent] in taught else "prior"
        named = self.latency.regions if self.latency else ()
        return [
            "prefix"
            if mine
            else "prior"
            if source == "country" and site.id not in named
            else source
            for mine, site in zip(own, self.topology.pools[pool], strict=True)
        ]

    def _learned(self, latency: Latency) -> Ints:
        """All columns of the relays pool under `latency`."""
        located = self.topology.rtt_us("relays")[:, : self.unlocated].copy()
        index = {site.id: place for place, site in enumerate(self.topology.pools["relays"])}
        named_regions = np.flatnonzero([each in index for each in latency.regions])
        sites = np.array([index[latency.regions[each]] for each in named_regions], dtype=np.int64)
        if self.unlocated:
            located[sites] = self._of_cells(latency, named_regions, sites)
        mean = np.rint(located.mean(axis=1)) if self.unlocated else np.zeros(len(located))
        cells = np.column_stack([located, mean.astype(np.int64)])
        return np.hstack([cells, self._of_prefixes(latency, named_regions, sites, cells)])

    def _of_cells(self, latency: Latency, named_regions: Ints, sites: Ints) -> Ints:
        """Sites × cells: the prior, corrected by the deviation of the cell's country.

        `named_regions` are the indexes of `sites` in `latency.regions`.
        """
        expected = latency.ms_per_km * self.topology.distances_km("relays", sites)
        expected += np.array(latency.base_ms, dtype=np.float64)[named_regions, None]
        codes, country = np.unique(np.array(self.topology.geo.countries), return_inverse=True)
        off = np.zeros((len(sites), len(codes)))
        for place, code in enumerate(codes.tolist()):
            if code in latency.countries:
                off[:, place] = np.array(latency.countries[code])[named_regions]
        if off.any():
            expected += spread_ms(expected) * latency.scale * off[:, country.reshape(-1)]
        return _microseconds(expected)

    def _of_prefixes(self, latency: Latency, named_regions: Ints, sites: Ints, cells: Ints) -> Ints:
        """Sites × learned columns, IPv4 before IPv6; also sets the pieces of both families."""
        if not latency.prefixes:
            return cells[:, :0]
        numbers = np.array([parse_prefix(each) for each in latency.prefixes], dtype=np.uint64)
        order = np.argsort(numbers)
        rows = np.array(list(latency.prefixes.values()), dtype=np.float64)[order][:, named_regions]
        found, measured, parents = [], [], []
        made = self.unlocated + 1
        families: tuple[Literal[4, 6], ...] = (4, 6)
        for family in families:
            here, firsts = keys_of_prefixes(numbers[order], family)
            pieces, parent, which = _cut(self.topology, family, firsts, made)
            self._pieces[family] = pieces
            made += len(which)
            tenths = rows[here][which].T
            values, own = cells[:, parent], np.zeros((len(cells), len(which)), dtype=np.bool_)
            own[sites] = ~np.isnan(tenths)
            values[sites] = np.where(own[sites], np.nan_to_num(tenths) * 100, values[sites])
            found.append(values)
            measured.append(own)
            parents.append(parent)
        self._measured, self._parents = np.hstack(measured), np.concatenate(parents)
        return np.hstack(found)


def _cut(
    topology: Topology, family: Literal[4, 6], firsts: npt.NDArray[np.uint64], made: int
) -> tuple[ColumnRanges, Ints, Ints]:
    """Splits prefixes where their cell changes.

    Returns the pieces, the parent column of each piece, and the index of its prefix. Unlocated
    pieces in special-purpose space are left out: DNS answers for such a subnet by the resolver's
    address (RFC 7871 §10), and its RTT does not tell where it is.
    """
    lasts = firsts + np.uint64((1 << (8 if family == 4 else 16)) - 1)
    begin, end, cells, which = topology.geo.cut(family, firsts, lasts)
    nowhere = cells == NO_CELL
    kept = np.ones(len(which), dtype=np.bool_)
    for block in SPECIAL_PURPOSE:
        if block.version == family:
            first, last = (np.uint64(each) for each in key_range(block))
            kept &= ~(nowhere & (begin <= last) & (end >= first))
    parent = np.where(nowhere, len(topology.geo), cells).astype(np.int64)
    pieces = ColumnRanges(begin[kept], end[kept], made + np.arange(int(kept.sum())))
    return pieces, parent[kept], which[kept]


def _microseconds(milliseconds: npt.NDArray[np.float64]) -> Ints:
    """Whole microseconds, so that every machine ranks alike; at least 0."""
    whole: Ints = np.rint(np.maximum(milliseconds, 0.0) * 1000).astype(np.int64)
    return whole
