"""Small worlds to test against: geo tables, plans and statuses, by hand or drawn at random."""

from __future__ import annotations

import atexit
import random
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, normalise, write_table
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Endpoint, Site, Topology
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, RelayStatus, Status
from firsthop_steering.plan.document import Document

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTINENT = {"DE": "EU", "US": "NA", "BR": "SA", "IN": "AS", "": ""}
VANTAGE = "here"
"""The place of the edge that random worlds are answered from."""
FORCED: list[object] = [
    {"verdict": "up"},
    {"verdict": "down", "until": (NOW + timedelta(seconds=90)).isoformat()},
    {"verdict": "down", "until": (NOW - timedelta(seconds=1)).isoformat()},
]
ZONE = {
    "apex": "edge.example.",
    "primary": "ns1.edge.example.",
    "contact": "hostmaster.edge.example.",
    "name_servers": ["ns1.edge.example."],
}


TWO_REGIONS = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
    ],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"},
        {"id": "nyc-1", "region": "nyc", "ipv4": "127.0.10.2"},
    ],
}  # fmt: skip
"""Two regions with one relay each."""


@cache
def folder() -> Path:
    """A scratch folder of this test process."""
    made = Path(mkdtemp(prefix="firsthop-worlds-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def plan_of(document: dict[str, Any], *, number: int = 1, **fields: Any) -> Plan:
    """A plan of a document given as plain data; the zone is there by default."""
    return Plan(
        number=number,
        lineage="test",
        created_at=NOW,
        document=Document.model_validate({"zones": [ZONE], **document}),
        **fields,
    )


def status_of(number: int = 1, **relays: str) -> Status:
    """A status with a verdict for each relay (its hyphens written as underscores)."""
    return Status(
        number=number,
        lineage="test",
        created_at=NOW,
        relays={
            relay.replace("_", "-"): RelayStatus.model_validate({"verdict": verdict})
            for relay, verdict in relays.items()
        },
    )


def europe_and_america() -> GeoTable:
    """10/8 is in Berlin, 20/8 in New York, 30/8 in São Paulo (AS 64500), the rest nowhere.

    IPv6: 2400::/12 is in Mumbai.
    """
    path = folder() / "europe-and-america.fhg"
    write_table(
        path,
        cells=[
            Cell(52.5, 13.4, "DE", "EU", "Berlin"),
            Cell(40.7, -74.0, "US", "NA", "New York"),
            Cell(-23.5, -46.6, "BR", "SA", "São Paulo"),
            Cell(19.1, 72.9, "IN", "AS", "Mumbai"),
        ],
        v4=(
            [0, 10 << 24, 11 << 24, 20 << 24, 21 << 24, 30 << 24, 31 << 24],
            [NO_CELL, 0, NO_CELL, 1, NO_CELL, 2, NO_CELL],
        ),
        v6=([0, 0x2400 << 48, 0x2410 << 48], [NO_CELL, 3, NO_CELL]),
        v4_asn=([0, 30 << 24, 31 << 24], [0, 64500, 0]),
    )
    return GeoTable.open(path)


def random_geo(rng: random.Random, cells: int) -> GeoTable:
    """Ranges with wide and narrow edges over random cells, and random AS numbers 0 to 4."""
    path = folder() / "random.fhg"
    countries = [rng.choice(list(CONTINENT)) for _ in range(cells)]

    def starts(bits: int) -> list[int]:
        wide = {rng.getrandbits(16) << bits - 16 for _ in range(cells)}
        return sorted({0, *wide, *(rng.getrandbits(bits) for _ in range(cells))})

    def ranges(bits: int, values: list[int]) -> tuple[list[int], list[int]]:
        edges = starts(bits)
        return edges, [rng.choice(values) for _ in edges]

    places = [NO_CELL, *range(cells)]
    write_table(
        path,
        cells=[
            Cell(rng.uniform(-80, 80), rng.uniform(-179, 179), code, CONTINENT[code])
            for code in countries
        ],
        v4=ranges(32, places),
        v6=ranges(64, places),
        v4_asn=ranges(32, [0, 1, 2, 3, 4]),
        v6_asn=ranges(64, [0, 1, 2, 3, 4]),
    )
    return GeoTable.open(path)


def random_plan(rng: random.Random) -> Plan:
    """One service `s` over one to nine regions, some at one place, with all that steers.

    In some plans most regions are much alike, so that little decides between them.
    """
    alike, mixed = rng.random() < 0.4, rng.random() < 0.7
    ids = [f"r{number}" for number in range(rng.choice([1, 2, 5, 9]))]
    spot = (rng.uniform(-60, 60), rng.uniform(-170, 170))
    regions = []
    for id_ in ids:
        latitude, longitude = (
            spot if rng.random() < (0.8 if alike else 0.3) else (rng.uniform(-60, 60), rng.random())
        )
        regions.append(
            {
                "id": id_,
                "latitude": latitude,
                "longitude": longitude,
                "weight": rng.choice([100, 100, 0, 50, 13]),
                "bias_ms": rng.choice([0, 0, rng.randint(-2000, 2000) / 1000])
                if alike
                else rng.choice([0, 0, 100, -30, rng.randint(-500_000, 500_000) / 1000]),
                "state": rng.choice(["active"] * 5 + ["draining", "disabled"]),
            }
        )
    relays = [
        {
            "id": f"{id_}-{k}",
            "region": id_,
            **rng.choice(
                [
                    {"ipv4": f"10.{number}.0.{k + 1}", "ipv6": f"2001:db8:{number}::{k + 1}"},
                    {"ipv4": f"10.{number}.0.{k + 1}"},
                    {"ipv6": f"2001:db8:{number}::{k + 1}"},
                ][: 3 if mixed else 1]
            ),
            "weight": rng.choice([100, 10, 0]),
            "state": rng.choice(["active"] * 5 + ["disabled"]),
            "failure_domain": rng.choice([None, "a", "b"]),
            "probe": {"interval_s": rng.choice([1, 5, 60]), "rise": 2, "fall": 3},
            "forced": rng.choice([None] * 8 + FORCED),
        }
        for number, id_ in enumerate(ids)
        for k in range(rng.choice([0, 1, 1, 3, 4]))
    ]
    service = {
        "id": "s",
        "name": "s.edge.example.",
        "answers": rng.choice([1, 2, 3]),
        "when_all_down": rng.choice(["open", "closed", "fallback"]),
        "fallback": ["192.0.2.9", "2001:db8::9"],
        "ttl_min": rng.choice([None, 0, 30]),
        "regions": rng.choice([None, rng.sample(ids, rng.randint(1, len(ids)))]),
        "view": rng.choice(["global", "local"]),
        "families": rng.choice(["separate", "separate", "together"]),
    }
    return plan_of(
        {
            "regions": regions,
            "relays": relays,
            "services": [service],
            "overrides": _random_overrides(rng, ids),
        },
    )


def _random_overrides(rng: random.Random, ids: list[str]) -> list[dict[str, Any]]:
    overrides: dict[object, dict[str, Any]] = {}
    for number in range(rng.choice([0, 2, 6])):
        match: dict[str, Any] = rng.choice(
            [
                {"cidr": f"{rng.randrange(200)}.0.0.0/8"},
                {"cidr": str(ip_network((rng.getrandbits(25) << 7, 25)))},
                {"cidr": str(ip_network((rng.getrandbits(14) << 114, 14)))},
                {"asn": rng.randrange(1, 5)},
                {"country": rng.choice(["DE", "US", "BR"])},
                {"continent": rng.choice(["EU", "NA", "SA"])},
            ]
        )
        service = rng.choice([None, "s"])
        overrides[(service, *match.values())] = {
            "id": f"o{number}",
            "mode": rng.choice(["prefer", "only", "avoid"]),
            "regions": rng.sample(ids, rng.randint(1, len(ids))),
            "service": service,
            **match,
        }
    return list(overrides.values())


def random_status(rng: random.Random, plan: Plan) -> Status:
    """Some relays down, in one family or from here only, some starting, some never heard of."""
    return Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={
            relay.id: RelayStatus.model_validate(
                {
                    **_random_word(rng),
                    "draining": rng.random() < 0.1,
                    "crashed": rng.random() < 0.05,
                    "share": rng.choice([100, 100, 100, 20, 60]),
                    "vantages": {
                        name: {"since": NOW, **_random_word(rng)}
                        for name in (VANTAGE, "elsewhere")
                        if rng.random() < 0.6
                    },
                }
            )
            for relay in plan.document.relays
            if rng.random() < 0.9
        },
    )


def _random_word(rng: random.Random) -> dict[str, Any]:
    """A verdict, sometimes with one for each family."""
    families = {
        family: rng.choice(["up", "up", "down", "unknown"])
        for family in ("ipv4", "ipv6")
        if rng.random() < 0.3
    }
    ranked = [each for each in ("up", "unknown", "down") if each in families.values()]
    verdict = ranked[0] if ranked else rng.choice(["up", "up", "down", "unknown"])
    return {"verdict": verdict, "families": families}


def prices_of(*, without: dict[str, dict[str, float]] | None = None, **now: float) -> Prices:
    """Prices in ms; `without` holds while the region that it names is lost."""
    return Prices(number=5, lineage="test", created_at=NOW, now=now, without=without or {})


def random_prices(rng: random.Random, plan: Plan) -> Prices:
    """Some regions are priced, a little or much, and some losses are planned for."""
    ids = [region.id for region in plan.document.regions]

    def row() -> dict[str, float]:
        return {
            id_: rng.choice([0.0, rng.uniform(0, 4), rng.uniform(0, 40), 7.5])
            for id_ in ids
            if rng.random() < 0.7
        }

    return prices_of(without={id_: row() for id_ in ids if rng.random() < 0.5}, **row())


def random_latency(rng: random.Random, plan: Plan, geo: GeoTable) -> Latency:
    """Some regions are known, some countries, and prefixes at edges of the geo table and anywhere.

    Numbers are often near each other, so that prices decide, and some are missing.
    """
    ids = [region.id for region in plan.document.regions if rng.random() < 0.9]
    ids += rng.choice([[], ["elsewhere"]])
    prefixes = {}
    for _ in range(rng.choice([0, 3, 30])):
        family, key = key_of(random_address(rng, geo))
        network = (key >> 8 << 8, 24) if family == 4 else (key >> 16 << 80, 48)
        near = rng.choice([0, 30, 500])
        prefixes[str(ip_network(network))] = tuple(
            rng.choice([None, 200, 200 + rng.randint(0, near), rng.randint(0, 3000)]) for _ in ids
        )
    return Latency(
        number=9,
        lineage="test",
        created_at=NOW,
        regions=tuple(ids),
        ms_per_km=rng.choice([0.0, 0.0, 0.01]),
        base_ms=tuple(4 + rng.choice([0, rng.uniform(0, 4), rng.uniform(-20, 20)]) for _ in ids),
        scale=rng.choice([0.0, rng.uniform(0, 2)]),
        countries={
            code: tuple(rng.uniform(-3, 3) for _ in ids)
            for code in ("DE", "US", "")
            if rng.random() < 0.5
        },
        prefixes=prefixes,
    )


def random_steering(rng: random.Random, geo: GeoTable) -> Steering:
    """A random plan and status, and mostly prices and learned latency as well."""
    plan = random_plan(rng)
    status, topology = random_status(rng, plan), Topology(plan, geo)
    latency = random_latency(rng, plan, geo) if rng.random() < 0.8 else None
    prices = random_prices(rng, plan) if rng.random() < 0.8 else None
    return Steering(
        topology, status, NOW, vantage=VANTAGE, rtt=RttMap(topology, latency), prices=prices
    )


def usable_of(
    steering: Steering, site: Site, *, ignore_health: bool = False
) -> tuple[Endpoint, ...]:
    """The endpoints of a site that the first service may answer with."""
    service = next(iter(steering.topology.services.values()))
    pool = service.answer_pool
    place = steering.topology.pools[pool].index(site)
    return steering.usable(service, pool, place, ignore_health=ignore_health)


def random_address(rng: random.Random, geo: GeoTable) -> IPv4Address | IPv6Address:
    """An address of either family, often right beside an edge of the table or in special space."""
    if rng.random() < 0.2:
        block = rng.choice(SPECIAL_PURPOSE)
        inside = int(block[0]) + rng.choice([0, rng.randrange(block.num_addresses), -1])
        return type(block[0])(max(0, inside))
    if rng.random() < 0.5:
        edge = int(rng.choice(geo.v4_starts)) - rng.randint(0, 1)
        return IPv4Address(rng.choice([rng.getrandbits(32), edge % 2**32]))
    edge = rng.choice([int(rng.choice(geo.v6_starts)), 0x64FF9B << 32, 0x2002 << 48, 0x2003 << 48])
    key = rng.choice([rng.getrandbits(64), (edge - rng.randint(0, 1)) % 2**64])
    return IPv6Address(key << 64 | 1)


def random_asker(rng: random.Random, steering: Steering) -> IPv4Address | IPv6Address:
    """As `random_address`, and as often in a learned prefix, or right beside it."""
    learned = steering.rtt.latency.prefixes if steering.rtt.latency else {}
    if not learned or rng.random() < 0.5:
        return random_address(rng, steering.topology.geo)
    network = ip_network(rng.choice([*learned]))
    last = network.num_addresses - 1
    place = int(network[0]) + rng.choice([0, last, rng.randint(0, last), -1, last + 1])
    return type(network[0])(min(max(place, 0), (1 << network.max_prefixlen) - 1))


def key_of(address: IPv4Address | IPv6Address) -> tuple[Any, int]:
    """Family and key as the tables take them."""
    family, key, _ = normalise(address)
    return family, key
