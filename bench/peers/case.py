"""The test case of all servers: regions, country map, clients, expected answers.

Uses no code of Firsthop: expected answers are computed by geoip2 and great-circle distance, so that
a fault of our tables cannot affect them.
"""

from __future__ import annotations

import lzma
import math
import random
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

import geoip2.database
import maxminddb

ZONE = "edge.example."
SERVICE = "relay.edge.example."
TTL = 30
SEED = 20261122
CLIENTS = 50_000
COUNTRY_CAP = 1_500
"""Maximum of /24s per country; uniform draws would give the United States 40 % of the clients."""

BUNDLED = Path(__file__).parents[2] / "geodata/firsthop_geodata/data/firsthop-city-country.mmdb.xz"

_FIRST, _LAST = 1 << 16, (224 << 16) - 1
"""1.0.0.0/24 to 223.255.255.0/24, as 24-bit network numbers."""
_STRIDE = 10_368_889
"""Odd, and near 2**24 divided by the golden ratio: its multiples visit every 24-bit number once and
are evenly spread over the address space at any number of draws."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region: id, position in degrees, and the address that represents it in answers."""

    id: str
    latitude: float
    longitude: float
    address: IPv4Address


REGIONS = tuple(
    Region(name, latitude, longitude, IPv4Address("192.0.2.0") + number)
    for number, (name, latitude, longitude) in enumerate(
        (
            ("iad", 39.04, -77.49),
            ("sjc", 37.34, -121.89),
            ("gru", -23.55, -46.63),
            ("fra", 50.11, 8.68),
            ("jnb", -26.20, 28.05),
            ("bom", 19.08, 72.88),
            ("sin", 1.35, 103.82),
            ("syd", -33.87, 151.21),
        ),
        start=1,
    )
)


@dataclass(frozen=True, slots=True)
class Country:
    """One row of the map: ISO 3166 code, continent code, nearest region."""

    code: str
    continent: str
    region: Region


@dataclass(frozen=True)
class Case:
    """The configuration of every server, and the expected answers.

    `database` is the uncompressed MMDB; `networks` are 24-bit network numbers (the upper three
    octets) in the order of the queries, `expected` the region of each.
    """

    database: Path
    countries: tuple[Country, ...]
    networks: tuple[int, ...]
    expected: tuple[Region, ...]
    clients_by_country: Counter[str]

    @cached_property
    def clients_by_region(self) -> Counter[str]:
        """Number of clients per expected region."""
        return Counter(region.id for region in self.expected)


def great_circle_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance of two points in degrees, by the haversine formula (mean radius)."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_lat, half_lon = (phi2 - phi1) / 2, math.radians(lon2 - lon1) / 2
    h = math.sin(half_lat) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_lon) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def nearest(latitude: float, longitude: float) -> Region:
    """The region nearest to a point."""
    return min(
        REGIONS,
        key=lambda region: great_circle_km(latitude, longitude, region.latitude, region.longitude),
    )


def unpack(database: Path, folder: Path) -> Path:
    """Returns the path of an `.mmdb`; unpacks an `.mmdb.xz` into `folder`."""
    if database.suffix != ".xz":
        return database.resolve()
    target = folder / database.stem
    target.write_bytes(lzma.decompress(database.read_bytes()))
    return target


def _country_map(database: Path) -> dict[str, Country]:
    """Maps every country of the database to its nearest region.

    A country with several positions (a city-level file) gets the region of its most frequent one,
    since the peers' maps are by country.
    """
    positions: dict[str, Counter[tuple[str, float, float]]] = {}
    with maxminddb.open_database(database) as reader:
        for _, record in reader:
            if not isinstance(record, dict) or "location" not in record:
                continue
            code = record.get("country", {}).get("iso_code")
            continent = record.get("continent", {}).get("code")
            if code and continent:
                spot = record["location"]
                key = (continent, spot["latitude"], spot["longitude"])
                positions.setdefault(code, Counter())[key] += 1
    countries = {}
    for code in sorted(positions):
        ((continent, latitude, longitude), _), *_ = positions[code].most_common(1)
        countries[code] = Country(code, continent, nearest(latitude, longitude))
    return countries


def build_case(database: Path, *, clients: int = CLIENTS) -> Case:
    """Chooses the map and the clients; the same database gives the same case.

    A /24 is used if one record with country and position covers it, and if its own position agrees
    with its country's row (always, in the bundled database). Raises ValueError if the database does
    not have enough of them.
    """
    countries = _country_map(database)
    chosen: list[tuple[int, Region]] = []
    taken: Counter[str] = Counter()
    with geoip2.database.Reader(database) as reader:
        for draw in range(1 << 24):
            network = draw * _STRIDE & 0xFFFFFF
            if not _FIRST <= network <= _LAST:
                continue
            try:
                found = reader.city(str(IPv4Address(network << 8)))
            except geoip2.errors.AddressNotFoundError:
                continue
            code, spot = found.country.iso_code, found.location
            covered = found.traits.network
            if code not in countries or spot.latitude is None or spot.longitude is None:
                continue
            if covered is None or covered.prefixlen > 24 or taken[code] >= COUNTRY_CAP:
                continue
            region = nearest(spot.latitude, spot.longitude)
            if region != countries[code].region:
                continue
            taken[code] += 1
            chosen.append((network, region))
            if len(chosen) == clients:
                break
    if len(chosen) < clients:
        raise ValueError(f"{database} locates only {len(chosen)} usable /24s of {clients}")
    random.Random(SEED).shuffle(chosen)
    return Case(
        database=database,
        countries=tuple(countries.values()),
        networks=tuple(network for network, _ in chosen),
        expected=tuple(region for _, region in chosen),
        clients_by_country=taken,
    )
