"""One position per country, for records that name a country but no coordinates.

The table is data, `data/country-centres.tsv`, written by :mod:`firsthop_geodata.builder`: for
each country the large city from which the population is nearest on average. It is not a
geometric centre, so it is never in the sea nor in an uninhabited area.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CENTRES_FILE = "country-centres.tsv"
COLUMNS = ("country", "continent", "latitude", "longitude", "radius_km", "place", "name")


@dataclass(frozen=True, slots=True)
class Centre:
    """The representative position of a country.

    ``latitude`` and ``longitude`` are degrees (WGS 84); ``radius_km`` is the distance within
    which two thirds of the country's city population live; ``place`` is the city's name.
    """

    country: str
    continent: str
    latitude: float
    longitude: float
    radius_km: int
    place: str
    name: str


def centres_bytes() -> bytes:
    """The contents of the packaged table; they are part of every compiled table's cache key."""
    return files(__package__).joinpath("data", CENTRES_FILE).read_bytes()


def parse_centres(text: str) -> dict[str, Centre]:
    """Read the tab-separated table (comment lines begin with ``#``), keyed by ISO 3166 code."""
    centres = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        country, continent, latitude, longitude, radius, place, name = line.split("\t")
        centres[country] = Centre(
            country, continent, float(latitude), float(longitude), int(radius), place, name
        )
    return centres


@cache
def country_centres() -> dict[str, Centre]:
    """The packaged centres by ISO 3166 alpha-2 code (plus XK). Do not modify the result."""
    return parse_centres(centres_bytes().decode("utf-8"))
