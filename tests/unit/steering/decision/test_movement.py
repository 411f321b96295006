"""How many clients a change moves: over every bucket of every cell, by the decision itself."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from firsthop_geodata.prefixes import Cell, GeoTable, write_table
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rendezvous import BUCKETS, bucket, kept_buckets, tie_draws
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Latency
from support.worlds import NOW, folder, plan_of, prices_of, status_of

SITES = {
    "ams": (52.3, 4.8), "fra": (50.1, 8.7), "iad": (39.0, -77.5), "lon": (51.5, -0.1),
    "par": (48.9, 2.4), "sin": (1.3, 103.8), "waw": (52.2, 21.0),
}  # fmt: skip
CELLS = [(latitude, longitude) for latitude in range(47, 56, 2) for longitude in range(-5, 25, 3)]
PRICES = {"ams": 4.0, "lon": 1.5}
"""What is charged: some cells are divided between neighbours."""


def geo() -> GeoTable:
    """50 cells over Europe; 11.c.0.0/16 lies in cell c."""
    path = folder() / "movement.fhg"
    starts = [0, *((11 << 24) + (cell << 16) for cell in range(len(CELLS)))]
    write_table(
        path,
        cells=[Cell(latitude, longitude, "DE", "EU") for latitude, longitude in CELLS],
        v4=(starts, [0, *range(len(CELLS))]),
    )
    return GeoTable.open(path)


def clients() -> list[IPv4Address]:
    """Of each cell one prefix of every bucket that its 256 prefixes have."""
    found: dict[tuple[int, int], IPv4Address] = {}
    for cell in range(len(CELLS)):
        for third in range(256):
            key = (11 << 24) + (cell << 16) + (third << 8)
            found.setdefault((cell, bucket(4, key)), IPv4Address(key))
    return [*found.values()]


GEO, CLIENTS = geo(), clients()


def chosen(*, without: str = "", **weights: int) -> dict[IPv4Address, str]:
    """Where everybody goes when `without` is not among the regions."""
    sites = {id_: place for id_, place in SITES.items() if id_ != without}
    regions: list[dict[str, Any]] = [
        {"id": id_, "latitude": place[0], "longitude": place[1], "weight": weights.get(id_, 100)}
        for id_, place in sites.items()
    ]
    relays = [
        {"id": f"{id_}-1", "region": id_, "ipv4": f"192.0.2.{number}"}
        for number, id_ in enumerate(sites)
    ]
    service = {"id": "s", "name": "s.edge.example."}
    topology = Topology(plan_of({"regions": regions, "relays": relays, "services": [service]}), GEO)
    latency = Latency(
        number=1,
        lineage="test",
        created_at=NOW,
        regions=tuple(SITES),
        base_ms=(4.0, 5.0, 9.0, 4.5, 4.2, 4.0, 6.0),
        countries={"DE": (0.2, -0.1, 0.0, 0.1, 0.3, 0.0, -0.5)},
        prefixes={"11.7.1.0/24": (90, 400, 900, 95, 120, None, None)},
    )
    steering = Steering(
        topology, status_of(), NOW, rtt=RttMap(topology, latency), prices=prices_of(**PRICES)
    )
    decide, place = steering.decide, topology.client
    return {
        client: (site.id if (site := decide(topology.services["s"], place(client)).site) else "")
        for client in CLIENTS
    }


def test_the_clients_are_many_and_of_most_buckets() -> None:
    """So that the shares below mean something."""
    drawn = {bucket(4, int(client)) for client in CLIENTS}
    assert len(CLIENTS) > 10_000
    assert len(drawn) > 0.99 * BUCKETS


@pytest.mark.parametrize("region", ["ams", "fra", "lon", "par", "waw"])
def test_half_the_weight_moves_half_of_the_regions_clients_and_nobody_else(region: str) -> None:
    """100 → 50: 50 ± 3 % of them, priced or not."""
    before, after = chosen(), chosen(**{region: 50})
    own = [client for client in CLIENTS if before[client] == region]
    moved = sum(after[client] != region for client in own)
    assert len(own) > 300
    assert moved / len(own) == pytest.approx(0.5, abs=0.03)
    assert all(after[each] == before[each] for each in CLIENTS if before[each] != region)


@pytest.mark.parametrize("region", [*SITES])
@pytest.mark.parametrize("weights", [{}, {"ams": 60, "fra": 30}])
def test_a_region_that_comes_or_goes_moves_its_own_clients_only(
    region: str, weights: dict[str, int]
) -> None:
    """The least that any rule could move: those whom it has. One point more is allowed."""
    with_it, without = chosen(**weights), chosen(without=region, **weights)
    own = sum(each == region for each in with_it.values())
    moved = sum(with_it[client] != without[client] for client in CLIENTS)
    assert own <= moved <= own + 0.01 * len(CLIENTS)


@pytest.mark.parametrize("twins", [("ams", "ams-b"), ("fra", "fra-b"), ("sin", "sin-b")])
def test_half_the_weight_moves_half_also_between_twins(twins: tuple[str, str]) -> None:
    """Two regions with equal scores share by other draws than weights keep by."""
    one, other = twins
    own = tie_draws(one) < tie_draws(other)
    assert own.sum() == pytest.approx(BUCKETS / 2, rel=0.1)
    assert kept_buckets(one, 50)[own].mean() == pytest.approx(0.5, abs=0.05)
