"""The geo table: maps address ranges to cells and AS numbers; a mapped, read-only file.

Knows neither MMDB nor regions. The ranges of a family partition its address space, adjacent ranges
differ, and a look-up is one bisection. IPv6 keys are the top 64 bits of an address, so all
addresses of a /64 have one cell.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from firsthop_geodata.addresses import (
    Address,
    IPVersion,
    around_embedded,
    normalise,
    prefix_length,
)
from firsthop_geodata.container import Container, write_sections
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.files import Buffer

__all__ = ["NO_CELL", "Cell", "GeoTable", "GeodataError", "Location", "normalise", "write_table"]

NO_CELL: Final[int] = 0xFFFFFFFF
"""The cell of addresses whose location is unknown."""

_U32, _U64, _F64 = np.dtype("<u4"), np.dtype("<u8"), np.dtype("<f8")
_RANGES: tuple[tuple[str, str, np.dtype[Any]], ...] = (
    ("v4_starts", "v4_cells", _U32),
    ("v6_starts", "v6_cells", _U64),
    ("v4_asn_starts", "v4_asns", _U32),
    ("v6_asn_starts", "v6_asns", _U64),
)
_TEXTS = ("countries", "continents", "names")


@dataclass(frozen=True, slots=True)
class Cell:
    """A location shared by addresses: degrees (WGS 84), ISO 3166 alpha-2 country or "", continent
    (AF AN AS EU NA OC SA) or "", and the city's English name or ""."""

    latitude: float
    longitude: float
    country: str
    continent: str
    name: str = ""


class RangePieces(NamedTuple):
    """Key ranges split where their cell changes; parallel arrays, one element per piece."""

    firsts: NDArray[np.uint64]
    lasts: NDArray[np.uint64]
    cells: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    """Index of the range of each piece."""


@dataclass(frozen=True, slots=True)
class Location:
    """The answer for one address.

    ``asn`` is 0 if unknown. ``network`` is the widest aligned block around the address, in the
    address's own family, in which every address has the same cell and AS number.
    """

    cell_id: int | None
    cell: Cell | None
    asn: int
    network: IPv4Network | IPv6Network


class GeoTable:
    """A compiled table. Arrays are read-only and indexed by cell id or by range."""

    def __init__(self, container: Container) -> None:
        """Take over a verified container. Raises GeodataError if it contains no geo table."""
        self._container = container
        sections, path = container.sections, container.path
        try:
            meta = json.loads(bytes(sections["meta"]))
            self.path: Path = path
            self.digest: str = container.digest
            self.database_type: str = meta["database_type"]
            self.build_epoch: int = meta["build_epoch"]
            self.latitudes: NDArray[np.float64] = np.frombuffer(sections["latitudes"], _F64)
            self.longitudes: NDArray[np.float64] = np.frombuffer(sections["longitudes"], _F64)
            texts = [bytes(sections[name]).decode().split("\n")[:-1] for name in _TEXTS]
            self.countries, self.continents, self.names = texts
            self.v4_starts: NDArray[np.uint32] = np.frombuffer(sections["v4_starts"], _U32)
            self.v4_cells: NDArray[np.uint32] = np.frombuffer(sections["v4_cells"], _U32)
            self.v6_starts: NDArray[np.uint64] = np.frombuffer(sections["v6_starts"], _U64)
            self.v6_cells: NDArray[np.uint32] = np.frombuffer(sections["v6_cells"], _U32)
            self.v4_asn_starts: NDArray[np.uint32] = np.frombuffer(sections["v4_asn_starts"], _U32)
            self.v4_asns: NDArray[np.uint32] = np.frombuffer(sections["v4_asns"], _U32)
            self.v6_asn_starts: NDArray[np.uint64] = np.frombuffer(sections["v6_asn_starts"], _U64)
            self.v6_asns: NDArray[np.uint32] = np.frombuffer(sections["v6_asns"], _U32)
        except (KeyError, TypeError, ValueError) as error:
            raise GeodataError(path, f"holds no geo table: {error!r}") from error
        _check(path, vars(self))
        # Bisection reads single elements: a memoryview is three times as fast as numpy for that.
        self._cells = {4: _views(self.v4_starts, self.v4_cells)}
        self._cells[6] = _views(self.v6_starts, self.v6_cells)
        self._asns = {4: _views(self.v4_asn_starts, self.v4_asns)}
        self._asns[6] = _views(self.v6_asn_starts, self.v6_asns)

    @classmethod
    def open(cls, path: Path | str) -> GeoTable:
        """Map and verify a file that :func:`write_table` wrote.

        Raises GeodataError with the file and the rule if it is missing, of another kind or version,
        truncated, or does not match its digest.
        """
        return cls(Container(Path(path)))

    def __len__(self) -> int:
        """The number of cells."""
        return len(self.countries)

    def cell(self, i: int) -> Cell:
        """The cell with id ``i``. Raises IndexError for an id that is not in this table."""
        if not 0 <= i < len(self.countries):
            raise IndexError(f"no cell {i}: the table has {len(self.countries)}")
        latitude, longitude = float(self.latitudes[i]), float(self.longitudes[i])
        return Cell(latitude, longitude, self.countries[i], self.continents[i], self.names[i])

    def find_cell(self, family: IPVersion, key: int) -> int:
        """The cell id for a key of :func:`normalise`; :data:`NO_CELL` if there is none."""
        starts, cells = self._cells[family]
        return cells[bisect_right(starts, key) - 1]

    def find_asn(self, family: IPVersion, key: int) -> int:
        """The AS number for a key of :func:`normalise`; 0 if unknown."""
        starts, asns = self._asns[family]
        return asns[bisect_right(starts, key) - 1]

    def locate(self, address: Address) -> Location:
        """The cell and AS number of an address, and the block that shares them."""
        family, key, embedded_bits = normalise(address)
        key_bits = 32 if family == 4 else 64
        first, last = 0, (1 << key_bits) - 1
        found = []
        for starts, values in (self._cells[family], self._asns[family]):
            index = bisect_right(starts, key)
            found.append(values[index - 1])
            first = max(first, starts[index - 1])
            last = min(last, starts[index] - 1 if index < len(starts) else last)
        cell_id, asn = found
        network: IPv4Network | IPv6Network
        if isinstance(address, IPv6Address):
            length = embedded_bits + prefix_length(key, first, last, key_bits)
            if family == 6:
                whole = around_embedded(int(address), first << 64, (last + 1 << 64) - 1)
                length = prefix_length(int(address), *whole, 128)
            network = IPv6Network((int(address), length), strict=False)
        else:
            length = prefix_length(key, first, last, key_bits)
            network = IPv4Network((key, length), strict=False)
        if cell_id == NO_CELL:
            return Location(None, None, asn, network)
        return Location(cell_id, self.cell(cell_id), asn, network)

    def cut(
        self, family: IPVersion, firsts: NDArray[np.uint64], lasts: NDArray[np.uint64]
    ) -> RangePieces:
        """Splits the ranges from ``firsts`` to ``lasts`` (inclusive) where the cell changes."""
        starts, values = (
            (self.v4_starts, self.v4_cells) if family == 4 else (self.v6_starts, self.v6_cells)
        )
        low = np.searchsorted(starts, firsts.astype(starts.dtype), side="right") - 1
        counts = np.searchsorted(starts, lasts.astype(starts.dtype), side="right") - low
        which = np.repeat(np.arange(len(firsts)), counts)
        index = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + low[which]
        begin = np.maximum(firsts[which], starts[index].astype(np.uint64))
        following = starts[np.minimum(index + 1, len(starts) - 1)].astype(np.uint64)
        ends = index + 1 == len(starts)
        end = np.where(ends, lasts[which], np.minimum(lasts[which], following - np.uint64(1)))
        return RangePieces(begin, end, values[index], which)

    @cached_property
    def v4_sizes(self) -> NDArray[np.float64]:
        """Number of IPv4 addresses in each cell."""
        return _sizes(self.v4_starts, self.v4_cells, 32, len(self))

    @cached_property
    def v6_sizes(self) -> NDArray[np.float64]:
        """Number of IPv6 keys (/64 networks) in each cell."""
        return _sizes(self.v6_starts, self.v6_cells, 64, len(self))

    @cached_property
    def country_codes(self) -> tuple[Sequence[str], NDArray[np.int64]]:
        """The distinct countries, ascending, and the index of each cell's country among them."""
        return _numbered(self.countries)

    @cached_property
    def continent_codes(self) -> tuple[Sequence[str], NDArray[np.int64]]:
        """The distinct continents, ascending, and the index of each cell's continent among them."""
        return _numbered(self.continents)

    def close(self) -> None:
        """Release the file. Arrays in use stay valid; the file is unmapped with the last one.

        The table must not be used afterwards. Closing twice has no effect.
        """
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                setattr(self, name, np.empty(0, value.dtype))
        self._cells.clear()
        self._asns.clear()
        self._container.close()


def _sizes(
    starts: NDArray[Any], cells: NDArray[np.uint32], bits: int, count: int
) -> NDArray[np.float64]:
    sizes = np.diff(starts.astype(np.float64), append=float(1 << bits))
    located = cells != NO_CELL
    counted = np.bincount(cells[located].astype(np.int64), sizes[located], minlength=count)
    return counted.astype(np.float64)


def _numbered(texts: Sequence[str]) -> tuple[Sequence[str], NDArray[np.int64]]:
    distinct = sorted(set(texts))
    numbers = {text: index for index, text in enumerate(distinct)}
    return distinct, np.array([numbers[text] for text in texts], dtype=np.int64)


def _views(starts: NDArray[Any], values: NDArray[Any]) -> tuple[Sequence[int], Sequence[int]]:
    # Copies on big-endian machines only, where the file's byte order is not the native one.
    native = [array.astype(array.dtype.newbyteorder("="), copy=False) for array in (starts, values)]
    return cast(Sequence[int], native[0].data), cast(Sequence[int], native[1].data)


def _check(path: Path, table: dict[str, Any]) -> None:
    """Checks the invariants of look-ups; a violation is a fault of the writer, not corruption."""
    size = len(table["latitudes"])
    if any(len(table[name]) != size for name in ("longitudes", *_TEXTS)):
        raise GeodataError(path, "has cell columns of different lengths")
    latitudes, longitudes = table["latitudes"], table["longitudes"]
    if not (np.all(np.abs(latitudes) <= 90) and np.all(np.abs(longitudes) <= 180)):
        raise GeodataError(path, "has a cell off the globe")
    if np.any((latitudes == 0) & (longitudes == 0)):
        raise GeodataError(path, "has a cell at (0, 0)")
    for starts_name, values_name, _ in _RANGES:
        starts, values = table[starts_name], table[values_name]
        if len(starts) == 0 or len(starts) != len(values) or starts[0] != 0:
            raise GeodataError(path, f"{starts_name} does not begin at 0 with one value per range")
        if np.any(starts[1:] <= starts[:-1]) or np.any(values[1:] == values[:-1]):
            raise GeodataError(path, f"{starts_name} is not sorted and merged")
        if "cells" in values_name and np.any((values >= size) & (values != NO_CELL)):
            raise GeodataError(path, f"{values_name} names a missing cell")


def merge_ranges(
    starts: NDArray[Any], values: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """Merge adjacent ranges with equal values."""
    keep = np.ones(len(starts), dtype=bool)
    keep[1:] = values[1:] != values[:-1]
    return starts[keep], values[keep]


Ranges = tuple[Sequence[int] | NDArray[Any], Sequence[int] | NDArray[Any]]
"""Range starts (ascending from 0), and the value of each range."""


def write_table(
    path: Path | str,
    *,
    cells: Sequence[Cell],
    v4: Ranges,
    v6: Ranges = ((0,), (NO_CELL,)),
    v4_asn: Ranges = ((0,), (0,)),
    v6_asn: Ranges = ((0,), (0,)),
    database_type: str = "",
    build_epoch: int = 0,
) -> str:
    """Write a table atomically (temporary file, fsync, rename) and return its digest in hex.

    ``v4`` and ``v6`` map range starts (IPv4 addresses, top 64 bits of IPv6) to cell ids or
    :data:`NO_CELL`, ``v4_asn`` and ``v6_asn`` to AS numbers; adjacent ranges with equal values are
    merged. The same content gives the same bytes. Raises GeodataError, with an old file unchanged,
    if the content violates an invariant or the file cannot be written.
    """
    path = Path(path)
    table: dict[str, Any] = {
        "latitudes": np.array([cell.latitude for cell in cells], _F64),
        "longitudes": np.array([cell.longitude for cell in cells], _F64),
        "countries": [cell.country for cell in cells],
        "continents": [cell.continent for cell in cells],
        "names": [" ".join(cell.name.split()) for cell in cells],
    }
    families: tuple[Ranges, ...] = (v4, v6, v4_asn, v6_asn)
    for (starts_name, values_name, key), (starts, values) in zip(_RANGES, families, strict=True):
        starts, values = merge_ranges(np.asarray(starts, key), np.asarray(values, _U32))
        table |= {starts_name: starts, values_name: values}
    _check(path, table)
    meta = {"database_type": database_type, "build_epoch": build_epoch}
    sections: dict[str, Buffer] = {"meta": json.dumps(meta, sort_keys=True).encode()}
    for name, column in table.items():
        if name in _TEXTS:
            sections[name] = "".join(f"{text}\n" for text in column).encode()
        else:
            sections[name] = column.tobytes()
    return write_sections(path, sections)
