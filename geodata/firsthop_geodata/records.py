"""Strict parsing of GeoIP2-shaped City, Country and ASN records.

The shape is that of MaxMind's GeoIP2 and GeoLite2 databases (and DB-IP's): maps `country`,
`continent`, `location`, `city` with `names`. Flat records, as in some free databases, are refused.
Each refusal is a ValueError whose text is the rule; callers add the file's name.
"""

from __future__ import annotations

import math
from typing import Any

from firsthop_geodata.centres import Centre

CONTINENTS = frozenset(("AF", "AN", "AS", "EU", "NA", "OC", "SA"))
MAX_ASN = (1 << 32) - 1  # RFC 6793

GeoRecord = dict[str, Any]
LocationRecord = tuple[str, float, float, str, str]
"""Country, latitude, longitude, continent, name. A plain tuple, since there are half a million of
them, and the garbage collector does not track tuples of plain values."""


def location_of(record: object, centres: dict[str, Centre]) -> LocationRecord | None:
    """The location in a City or Country record; None if it has neither position nor country.

    If the coordinates are missing or exactly (0, 0), which vendors use for "unknown", the centre of
    the country is used. A record without `country` falls back to `registered_country`, the country
    of the addresses' holder.
    """
    if not isinstance(record, dict):
        raise ValueError(f"has a record that is {_kind(record)}, not a map")
    country = _code(_map(record, "country") or _map(record, "registered_country"), "iso_code")
    continent = _code(_map(record, "continent"), "code")
    centre = centres.get(country)
    if continent not in CONTINENTS:
        continent = centre.continent if centre else ""
    name = _english(_map(record, "city"))
    position = _position(_map(record, "location"))
    if position is None:
        if centre is None:
            return None
        position = centre.latitude, centre.longitude
        name = name or centre.place
    return country, *position, continent, name


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
