"""Extracts locations and AS numbers of all networks from a MaxMind DB file.

A file is read into memory and first opened with geoip2, so that files which geoip2 rejects are
refused. Then its search tree is traversed with numpy, and each distinct record is decoded once. If
there is any fault, the whole file is refused with a GeodataError that names the file and the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, TypeVar

import geoip2.database
import maxminddb
import numpy as np
from numpy.typing import NDArray

from firsthop_geodata.centres import country_centres
from firsthop_geodata.data_section import DataSection
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import NO_CELL, Cell
from firsthop_geodata.records import LocationRecord, asn_of, location_of
from firsthop_geodata.search_tree import DATA_SEPARATOR, NOTHING, Leaves, read_tree

GEOIP2_SAMPLE = 64
"""Number of distinct records checked by geoip2 itself; this package checks all of them."""
LOCATION_TYPES = {"City": "city", "Country": "country", "Enterprise": "enterprise"}
ASN_TYPES = ("ASN", "ISP")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GeoSource:
    """A MaxMind DB that geoip2 accepts: its reader, type, build time, records and networks.

    ``nodes`` is the node count, the base of the pointers in the leaves.
    """

    path: Path
    model: geoip2.database.Reader
    database_type: str
    build_epoch: int
    nodes: int
    data: DataSection
    v4: Leaves
    v6: Leaves


class _NamedBytes(BytesIO):
    """Bytes that maxminddb's Python reader accepts as a file; its C reader is unsafe for unverified
    files (see :mod:`firsthop_geodata.data_section`)."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(content)
        self.name = str(path)


@contextmanager
def opened(path: Path) -> Iterator[GeoSource]:
    """Open a database with geoip2 and traverse its tree. Raises GeodataError for any fault,
    also within the ``with`` block."""
    try:
        content = path.read_bytes()
        with geoip2.database.Reader(_NamedBytes(content, path), mode=maxminddb.MODE_FD) as model:
            metadata = model.metadata()
            tree = read_tree(path, content, metadata)
            base = metadata.search_tree_size + DATA_SEPARATOR
            yield GeoSource(
                path=path,
                model=model,
                database_type=str(metadata.database_type),
                build_epoch=int(metadata.build_epoch),
                nodes=metadata.node_count,
                data=DataSection(content, base),
                v4=tree.v4_leaves(),
                v6=tree.v6_leaves(),
            )
    except GeodataError:
        raise
    except OSError as error:
        raise GeodataError(path, f"cannot be read: {error.strerror or error}") from error
    except maxminddb.InvalidDatabaseError as error:
        raise GeodataError(path, f"is not a sound MaxMind DB: {error}") from error
    except Exception as error:  # a damaged file may raise anything in the libraries
        raise GeodataError(path, f"is corrupt: {error or type(error).__name__}") from error


def locations(source: GeoSource) -> tuple[list[Cell], NDArray[np.uint32], NDArray[np.uint32]]:
    """Distinct cells sorted by country and position, and the cell id of each v4 and v6 network.

    Raises GeodataError for a database of another kind or without any location.
    """
    method = next(
        (LOCATION_TYPES[kind] for kind in LOCATION_TYPES if kind in source.database_type), None
    )
    if method is None:
        kinds = " or ".join(LOCATION_TYPES)
        rule = f"has database_type {source.database_type!r}, which names no {kinds} database"
        raise GeodataError(source.path, rule)
    centres = country_centres()
    look_up = getattr(source.model, method)
    found, v4, v6 = _decode(source, lambda record: location_of(record, centres), look_up)
    cells: list[Cell] = []
    ids: dict[LocationRecord | None, int] = {None: NO_CELL}
    last = None
    for location in sorted({location for location in found if location is not None}):
        country, latitude, longitude, continent, name = location
        if location[:4] != last:  # of several names the first one stays
            cells.append(Cell(latitude, longitude, country, continent, name))
            last = location[:4]
        ids[location] = len(cells) - 1
    if not cells:
        raise GeodataError(source.path, "has no record with a GeoIP2-shaped country or position")
    numbers = np.array([ids[location] for location in found], np.uint32)
    return cells, numbers[v4], numbers[v6]


def as_numbers(source: GeoSource) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The AS number of each v4 and v6 network. Raises GeodataError for another kind of file."""
    if not any(kind in source.database_type for kind in ASN_TYPES):
        rule = f"has database_type {source.database_type!r}, which names no ASN database"
        raise GeodataError(source.path, rule)
    found, v4, v6 = _decode(source, asn_of, None)
    if not any(found):
        raise GeodataError(source.path, "has no record with a GeoIP2-shaped AS number")
    numbers = np.array([number or 0 for number in found], np.uint32)
    return numbers[v4], numbers[v6]


def _decode(
    source: GeoSource, read: Callable[[object], T | None], look_up: Callable[[Any], object] | None
) -> tuple[list[T | None], NDArray[np.intp], NDArray[np.intp]]:
    """Decode each distinct record once: the values, and each network's index among them.

    ``look_up`` is a method of geoip2's reader, called for a sample of records to validate them.
    """
    pointers = np.concatenate((source.v4.pointers, source.v6.pointers))
    # Pointers are file offsets: an array indexed by offset is far cheaper than sorting them.
    firsts = np.full(int(pointers.max()) + 1, -1, np.int32)
    firsts[pointers[::-1]] = np.arange(len(pointers) - 1, -1, -1, dtype=np.int32)
    distinct = np.flatnonzero(firsts >= 0)
    values: list[T | None] = []
    split = len(source.v4.pointers)
    for number, (pointer, first) in enumerate(
        zip(distinct.tolist(), firsts[distinct].tolist(), strict=True)
    ):
        if pointer == NOTHING:
            values.append(None)
            continue
        if look_up is not None and number < GEOIP2_SAMPLE:
            _ask_geoip2(source, look_up, _address(source, first, split))
        record = source.data.record(pointer - source.nodes - DATA_SEPARATOR)
        try:
            values.append(read(record))
        except ValueError as error:
            raise GeodataError(source.path, str(error)) from error
    firsts[distinct] = np.arange(len(distinct), dtype=np.int32)
    inverse = firsts[pointers].astype(np.intp)
    return values, inverse[:split], inverse[split:]


def _ask_geoip2(source: GeoSource, look_up: Callable[[Any], object], address: object) -> None:
    try:
        look_up(address)
    except (TypeError, AttributeError) as error:
        rule = f"has a record for {address} that geoip2 rejects, not GeoIP2-shaped: {error}"
        raise GeodataError(source.path, rule) from error


def _address(source: GeoSource, index: int, split: int) -> IPv4Address | IPv6Address:
    if index < split:
        return IPv4Address(int(source.v4.low[index]))
    index -= split
    return IPv6Address(int(source.v6.top[index]) << 64 | int(source.v6.low[index]))
