"""Strict parsing of GeoIP2-shaped City, Country and ASN records.

The shape is that of MaxMind's GeoIP2 and GeoLite2 databases (and DB-IP's): maps `country`,
`continent`, `location`, `city` with `names`. Flat records, as in some free databases, are refused.
Each refusal is a ValueError whose text is the rule; callers add the file's name.
"""

from __future__ import annotations

import math
from typing import Any

from firsthop_geodata.centres import Centre

CONTINENTS = {"AF": "CG", "AN": "AQ", "AS": "NP", "EU": "CZ", "NA": "US", "OC": "AU", "SA": "BO"}
"""Continent → the country whose centre stands for addresses of which nothing else is known: the one
from which the people of the continent are near on average."""
MAX_ASN = (1 << 32) - 1  # RFC 6793

GeoRecord = dict[str, Any]
LocationRecord = tuple[str, float, float, str, str]
"""Country, latitude, longitude, continent, name. A plain tuple, since there are half a million of
them, and the garbage collector does not track tuples of plain values."""


def location_of(record: object, centres: dict[str, Centre]) -> LocationRecord | None:
    """The location in a City or Country record; None if it has no position, country or continent.

    If the coordinates are missing or exactly (0, 0), which vendors use for "unknown", the centre of
    the country is used, else that of the continent (CONTINENTS). A record without `country` falls
    back to `registered_country`, the country of the addresses' holder, unless that is on another
    continent than the record's: then only the continent is known.
    """
    if not isinstance(record, dict):
        raise ValueError(f"has a record that is {_kind(record)}, not a map")
    continent = _code(_map(record, "continent"), "code")
    if continent not in CONTINENTS:
        continent = ""
    country = _country(record, centres, continent)
    centre = centres.get(country)
    continent = continent or (centre.continent if centre else "")
    name = _english(_map(record, "city"))
    position = _position(_map(record, "location"))
    if position is None:
        nearest = centre or centres.get(CONTINENTS.get(continent, ""))
        if nearest is None:
            return None
        position = nearest.latitude, nearest.longitude
        name = name or (centre.place if centre else "")
    return country, *position, continent, name


def _country(record: GeoRecord, centres: dict[str, Centre], continent: str) -> str:
    if country := _map(record, "country"):
        return _code(country, "iso_code")
    holder = _code(_map(record, "registered_country"), "iso_code")
    centre = centres.get(holder)
    elsewhere = centre is not None and continent not in ("", centre.continent)
    return "" if elsewhere else holder


def asn_of(record: object) -> int:
    """The AS number in an ASN or ISP record (or in a City record's traits); 0 if it has none."""
    if not isinstance(record, dict):
        raise ValueError(f"has a record that is {_kind(record)}, not a map")
    number = record.get("autonomous_system_number")
    if number is None:
        number = _map(record, "traits").get("autonomous_system_number", 0)
    if not isinstance(number, int) or not 0 <= number <= MAX_ASN:
        raise ValueError(f"has the AS number {number!r}, not an integer of 32 bits")
    return number


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _map(record: GeoRecord, key: str) -> GeoRecord:
    value = record.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(
            f"has records whose {key!r} is {_kind(value)}, not a map: not GeoIP2-shaped"
        )
    return value


def _code(part: GeoRecord, key: str) -> str:
    """A two-letter code; "" if it is missing or malformed (some vendors write "-")."""
    value = part.get(key)
    if isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha():
        return value.upper()
    return ""


def _english(part: GeoRecord) -> str:
    names = part.get("names")
    name = names.get("en", "") if isinstance(names, dict) else ""
    return name if isinstance(name, str) else ""


def _position(location: GeoRecord) -> tuple[float, float] | None:
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if latitude is None or longitude is None:
        return None
    if not (_is_degrees(latitude, 90) and _is_degrees(longitude, 180)):
        raise ValueError(
            f"has a record at ({latitude!r}, {longitude!r}), which is not on the globe"
        )
    if latitude == 0 and longitude == 0:
        return None
    return float(latitude), float(longitude)


def _is_degrees(value: object, limit: int) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= limit
