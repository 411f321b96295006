"""The geo data and regions that the RTT model needs: distances, countries, cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.arrays import Ints, Keys
from firsthop_steering.feed.snapshot import Plan
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.geography import distances_km, unit_vectors
from firsthop_steering.rtt.samples import keys_of_prefixes


@dataclass(frozen=True, slots=True)
class Ground:
    """Geo data with the distances to a plan's regions.

    `regions` are in the order of the terrain's columns. `nations` maps the terrain's country
    numbers to ISO 3166 codes.
    """

    geo: GeoTable
    regions: tuple[str, ...]
    terrain: Terrain
    nations: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan, geo: GeoTable) -> Ground:
        """Computes cells × regions distances: 40 MB for 100,000 cells and 50 regions."""
        regions = sorted(plan.document.regions, key=lambda each: each.id)
        sites = unit_vectors([r.latitude for r in regions], [r.longitude for r in regions])
        cells = unit_vectors(geo.latitudes, geo.longitudes)
        distances = distances_km(cells, sites)
        nowhere = distances.mean(axis=0) if len(distances) else np.zeros(len(regions))
        names, numbers = np.unique([*geo.countries, ""], return_inverse=True)
        return cls(
            geo,
            tuple(region.id for region in regions),
            Terrain(np.vstack([distances, nowhere]), numbers.astype(np.int64)),
            tuple(names.tolist()),
        )

    def locate(self, prefixes: Keys) -> tuple[Ints, Ints]:
        """`locate` with this geo data."""
        return locate(self.geo, prefixes)


def locate(geo: GeoTable, prefixes: Keys) -> tuple[Ints, Ints]:
    """The cell and the AS number of each prefix; an unlocated prefix has the cell `len(geo)`."""
    cells = np.empty(len(prefixes), dtype=np.int64)
    asns = np.empty(len(prefixes), dtype=np.int64)
    _, four = keys_of_prefixes(prefixes, 4)
    mask, six = keys_of_prefixes(prefixes, 6)
    for where, keys, starts, found, as_starts, as_found in (
        (~mask, four, geo.v4_starts, geo.v4_cells, geo.v4_asn_starts, geo.v4_asns),
        (mask, six, geo.v6_starts, geo.v6_cells, geo.v6_asn_starts, geo.v6_asns),
    ):
        cells[where] = found[_indexes(starts, keys)]
        asns[where] = as_found[_indexes(as_starts, keys)]
    return np.where(cells == NO_CELL, len(geo), cells), asns


def _indexes(starts: npt.NDArray[np.unsignedinteger], keys: Keys) -> Ints:
    return np.searchsorted(starts, keys.astype(starts.dtype), side="right") - 1
