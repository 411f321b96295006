"""The default database that comes with the package: country-level, made by `geodata build`.

Its sources and licences are in `geodata/NOTICE`. All addresses of a country have one position,
so a city database (`FIRSTHOP_GEOIP_CITY`) serves large countries better.
"""

from __future__ import annotations

import lzma
from importlib.resources import files

from firsthop_geodata.errors import GeodataError

BUNDLED_FILE = "firsthop-city-country.mmdb.xz"


def bundled_bytes() -> bytes:
    """The committed file as it is, xz-compressed. Raises GeodataError when it is missing."""
    try:
        return files(__package__).joinpath("data", BUNDLED_FILE).read_bytes()
    except OSError as error:
        rule = f"the bundled database is missing: {error.strerror}"
        raise GeodataError(BUNDLED_FILE, rule) from error


def bundled_database() -> bytes:
    """The bundled MMDB, decompressed. Raises GeodataError when it is missing or damaged."""
    try:
        return lzma.decompress(bundled_bytes())
    except lzma.LZMAError as error:
        raise GeodataError(BUNDLED_FILE, f"the bundled database is corrupt: {error}") from error
