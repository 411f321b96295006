"""The bundled default database: country-level, built by `geodata build`.

Its sources and licences are in `geodata/NOTICE`. All addresses of a country have one position, so a
city database (`FIRSTHOP_GEOIP_CITY`) is better for large countries.
"""

from __future__ import annotations

import lzma
from importlib.resources import files

from firsthop_geodata.errors import GeodataError

BUNDLED_FILE = "firsthop-city-country.mmdb.xz"


def bundled_bytes() -> bytes:
    """The packaged file, xz-compressed. Raises GeodataError if it is missing."""
    try:
        return files(__package__).joinpath("data", BUNDLED_FILE).read_bytes()
    except OSError as error:
        rule = f"the bundled database is missing: {error.strerror}"
        raise GeodataError(BUNDLED_FILE, rule) from error


def bundled_database() -> bytes:
    """The bundled MMDB, decompressed. Raises GeodataError if it is missing or damaged."""
    try:
        return lzma.decompress(bundled_bytes())
    except lzma.LZMAError as error:
        raise GeodataError(BUNDLED_FILE, f"the bundled database is corrupt: {error}") from error
