"""Compiles MaxMind DB files (any GeoIP2-shaped City or Country database) to geo tables.

If a file has any fault, it is refused as a whole, and the old table stays unchanged. Compiled
tables are cached in a folder; the digest of their inputs is their name.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firsthop_geodata.bundled import BUNDLED_FILE, bundled_bytes, bundled_database
from firsthop_geodata.centres import centres_bytes
from firsthop_geodata.container import FORMAT_VERSION
from firsthop_geodata.database import LOCATION_TYPES, as_numbers, locations, opened
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import GeoTable, write_table

COMPILER_VERSION = 2
"""Increment it if the same databases compile to another table, which invalidates cached ones."""


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Disables the cyclic collector, which would double the time: records form no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def compile_mmdb(city: Path, asn: Path | None, out: Path) -> GeoTable:
    """Compile a City or Country database, and optionally an ASN one, to ``out``; open the result.

    ``out`` is replaced atomically. Raises GeodataError with the file at fault and the rule; ``out``
    is then unchanged.
    """
    asns: dict[str, Any] = {}
    if asn is not None:
        with opened(asn) as source, _collector_paused():
            v4, v6 = as_numbers(source)
            asns = {"v4_asn": (source.v4.low, v4), "v6_asn": (source.v6.top, v6)}
    with opened(city) as source, _collector_paused():
        cells, v4, v6 = locations(source)
        write_table(
            out,
            cells=cells,
            v4=(source.v4.low, v4),
            v6=(source.v6.top, v6),
            database_type=source.database_type,
            build_epoch=source.build_epoch,
            **asns,
        )
    return GeoTable.open(out)


def verify_mmdb(path: Path) -> str:
    """Check that a file compiles, as locations or as AS numbers; returns its database_type.

    Raises GeodataError with the violated rule.
    """
    with opened(path) as source, _collector_paused():
        if any(kind in source.database_type for kind in LOCATION_TYPES):
            locations(source)
        else:
            as_numbers(source)
        return source.database_type


def open_geodata(city: Path | None, asn: Path | None, cache_dir: Path) -> GeoTable:
    """The table of these databases (``city`` None: the bundled one), compiled only once.

    It is cached in ``cache_dir`` as ``geo-<digest of inputs and format>.fhg``. A cached table is
    verified and mapped; a damaged one is compiled again. Of concurrent processes one compiles and
    the others wait. Raises GeodataError with the file at fault.
    """
    before = _stamps(city, asn)
    target = cache_dir / f"geo-{_cache_key(city, asn)}.fhg"
    if (table := _cached(target)) is not None:
        return table
    with _lock(cache_dir / "compile.lock"):
        if (table := _cached(target)) is not None:
            return table
        if city is not None:
            table = compile_mmdb(city, asn, target)
        else:
            with tempfile.TemporaryDirectory(prefix=".bundled-", dir=cache_dir) as folder:
                unpacked = Path(folder) / BUNDLED_FILE.removesuffix(".xz")
                unpacked.write_bytes(bundled_database())
                table = compile_mmdb(unpacked, asn, target)
        if _stamps(city, asn) != before:
            table.close()
            target.unlink(missing_ok=True)
            raise GeodataError(city or asn or target, "was changed while it was being compiled")
        return table


def _cached(target: Path) -> GeoTable | None:
    try:
        return GeoTable.open(target)
    except GeodataError:  # missing, or damaged: it will be compiled again
        return None


def _cache_key(city: Path | None, asn: Path | None) -> str:
    """A digest of all that decides a table's bytes: the compiler, the centres, the inputs."""
    key = hashlib.sha256(f"firsthop geo table {FORMAT_VERSION}.{COMPILER_VERSION}".encode())
    key.update(hashlib.sha256(centres_bytes()).digest())
    key.update(hashlib.sha256(bundled_bytes()).digest() if city is None else _file_digest(city))
    key.update(b"" if asn is None else _file_digest(asn))
    return key.hexdigest()[:32]


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise GeodataError(path, f"cannot be read: {error.strerror}") from error


def _stamps(*paths: Path | None) -> list[tuple[int, int, int, int]]:
    """What changes when a file is replaced or written to."""
    try:
        stats = [path.stat() for path in paths if path is not None]
    except OSError as error:
        raise GeodataError(error.filename, f"cannot be read: {error.strerror}") from error
    return [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in stats]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases if the process dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise GeodataError(path.parent, f"cannot hold the cache: {error.strerror}") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
