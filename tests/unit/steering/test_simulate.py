"""What a change does to clients: the same as deciding for each of them before and after."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.atlas import Atlas
from firsthop_steering.decide import Steering
from firsthop_steering.model import Region
from firsthop_steering.simulate import simulate, taken_as_lost
from firsthop_steering.simulation import Simulation
from firsthop_steering.snapshot import Plan, Status
from worlds import (
    NOW,
    VANTAGE,
    europe_and_america,
    plan_of,
    random_address,
    random_geo,
    random_plan,
    random_status,
    status_of,
)

NAME = "s.edge.example."
SIZE = 1 << 24
"""Addresses in each of the three located /8 of `europe_and_america`."""


def steering_of(plan: Plan, status: Status, geo: Any) -> Steering:
    return Steering(Atlas(plan, geo), status, NOW, vantage=VANTAGE)


def small(*, relays: int = 1, service: dict[str, Any] | None = None, **regions: Any) -> Plan:
    """Frankfurt, New York and São Paulo under one service; `fra={…}` changes a region."""
    places = {"fra": (50.1, 8.7), "nyc": (40.7, -74.0), "gru": (-23.5, -46.6)}
    document = {
        "regions": [
            {"id": id_, "latitude": latitude, "longitude": longitude, **regions.get(id_, {})}
            for id_, (latitude, longitude) in places.items()
        ],
        "relays": [
            {"id": f"{id_}-{k}", "region": id_, "ipv4": f"192.0.2.{10 * n + k}", "capacity": 500}
            for n, id_ in enumerate(places)
            for k in range(relays)
        ],
        "services": [{"id": "s", "name": NAME, **(service or {})}],
    }
    return plan_of(document)


def compared(before: Plan, after: Plan, **more: Any) -> Simulation:
    geo = europe_and_america()
    old, new = (steering_of(plan, status_of(), geo) for plan in (before, after))
    return simulate(old, new, NAME, **more)


@pytest.mark.parametrize("seed", range(40))
def test_single_clients_go_where_decide_sends_them(seed: int) -> None:
    """Any two plans and statuses, any clients: every move is one of two decisions."""
    rng = random.Random(seed)
    geo = random_geo(rng, 9)
    plans = random_plan(rng), random_plan(rng)
    old, new = (steering_of(plan, random_status(rng, plan), geo) for plan in plans)
    clients = [random_address(rng, geo) for _ in range(200)]
    told = simulate(old, new, NAME, clients)
    moves: Counter[tuple[str | None, str | None]] = Counter()
    for address in clients:
        pair = []
        for each in (old, new):
            site = each.decide(each.atlas.services["s"], each.atlas.client(address)).site
            pair.append(site.id if site else None)
        moves[pair[0], pair[1]] += 1
    wanted = {pair: count for pair, count in moves.items() if pair[0] != pair[1]}
    assert {(m.source, m.target): round(m.share * 200) for m in told.moves} == wanted
    assert round(told.moved * 200) == sum(n for (old_, _), n in wanted.items() if old_)
    assert round(told.lost * 200) == sum(n for (_, new_), n in wanted.items() if not new_)
    assert round(told.gained * 200) == sum(n for (old_, _), n in wanted.items() if not old_)
    for each in told.regions:
        assert round(each.after * 200) == sum(
            n for (_, to), n in moves.items() if to == each.region
        )
    assert (told.clients, told.moved_ipv6) == (200, None)


@pytest.mark.parametrize("seed", range(20))
def test_everybody_is_every_located_address(seed: int) -> None:
    """Where no region keeps a part only, the first address of each range speaks for the range."""
    rng = random.Random(seed)
    geo = random_geo(rng, 9)
    sides = []
    for _ in range(2):
        plan = random_plan(rng)
        whole = [
            Region.model_validate(
                each.model_dump() | {"weight": 100, "bias_ms": rng.randint(-99_999, 99_999) / 1000}
            )
            for each in plan.document.regions
        ]
        document = plan.document.model_copy(update={"regions": tuple(whole), "overrides": ()})
        plan = plan.model_copy(update={"document": document})
        sides.append(steering_of(plan, Status.model_validate(status_of()), geo))
    moved, total = 0, 0
    edges = [*map(int, geo.v4_starts), 1 << 32]
    for first, cell, end in zip(edges, geo.v4_cells.tolist(), edges[1:], strict=False):
        if cell == NO_CELL:
            continue
        places = []
        for each in sides:
            client = each.atlas.client(IPv4Address(first))
            site = each.decide(each.atlas.services["s"], client).site
            places.append(site.id if site else None)
        total += end - first
        moved += (end - first) * (places[0] is not None and places[0] != places[1])
    told = simulate(*sides, NAME)
    assert told.clients == total
    assert told.moved == pytest.approx(moved / total, abs=1e-6)


def test_half_a_weight_moves_half_of_that_regions_clients() -> None:
    """To each one's next best; nobody else moves, and round trips rise by as much."""
    told = compared(small(), small(nyc={"weight": 50}))
    assert told.clients == 3 * SIZE
    assert told.moved == pytest.approx(1 / 6, abs=1e-6)
    assert [(m.source, m.target) for m in told.moves] == [("nyc", "fra")]
    assert [(c.country, c.of_country) for c in told.countries] == [("US", 0.5)]
    assert (told.lost, told.gained) == (0, 0)
    loads = {each.region: (each.before, each.after) for each in told.regions}
    assert loads["fra"] == pytest.approx((1 / 3, 1 / 2), abs=1e-6)
    (mean, _, p95), (mean_then, _, p95_then) = (
        each.model_dump().values() for each in (told.rtt_before, told.rtt_after)
    )
    assert mean_then > mean + 10
    assert p95_then > p95


def test_the_same_plan_moves_nobody() -> None:
    told = compared(small(), small())
    assert (told.moved, told.moved_ipv6, told.moves, told.countries) == (0, 0, (), ())
    assert told.rtt_before == told.rtt_after


def test_a_lost_region_loses_its_clients_to_others() -> None:
    """Whatever was said of its relays; when all are lost, `when_all_down` speaks."""
    plan, geo = small(service={"when_all_down": "closed"}), europe_and_america()
    now, atlas = status_of(fra_0="up", nyc_0="up"), Atlas(small(), geo)
    told = simulate(
        Steering(atlas, now, NOW),
        Steering(atlas, taken_as_lost(now, plan, (), ("fra",)), NOW),
        NAME,
    )
    assert {(m.source, m.target) for m in told.moves} == {("fra", "nyc")}
    closed = Atlas(plan, geo)
    nobody = taken_as_lost(now, plan, ("fra-0",), ("nyc", "gru"))
    told = simulate(Steering(closed, now, NOW), Steering(closed, nobody, NOW), NAME)
    assert (told.moved, told.lost) == (1, 1)
    assert told.rtt_after.mean_ms is None


def test_a_name_that_is_no_service_answers_nobody() -> None:
    """A service that is deleted loses all its clients; one that is new has none to lose."""
    without = plan_of({**small().document.model_dump(mode="json"), "services": []})
    gone, new = compared(small(), without), compared(without, small())
    assert (gone.moved, gone.lost, gone.gained) == (1, 1, 0)
    assert (new.moved, new.lost, new.gained) == (0, 0, 1)


def test_utilisation_is_told_where_all_relays_state_a_capacity() -> None:
    """Sessions by share, over the capacity of the relays that are up."""
    told = compared(small(relays=2), small(relays=2, nyc={"weight": 0}), sessions=1200)
    used = {each.region: (each.utilisation_before, each.utilisation_after) for each in told.regions}
    assert used == {"fra": (0.4, 0.8), "nyc": (0.4, 0.0), "gru": (0.4, 0.4)}
    assert {each.capacity for each in told.regions} == {1000}
    silent = compared(small(), small())
    assert {each.utilisation_after for each in silent.regions} == {None}


def test_ipv6_clients_of_a_place_count_as_its_ipv4_addresses_do(tmp_path: Path) -> None:
    """Little space or much; a change that no IPv4 client notices is seen."""
    cells = [Cell(52.5, 13.4, "DE", "EU"), Cell(40.7, -74.0, "US", "NA")]
    v4 = ([0, 3 << 30], [0, 1])
    v6 = ([0, 0x2400 << 48, 0x2500 << 48, 0x2500 << 48 | 1 << 40], [NO_CELL, 0, 1, NO_CELL])
    write_table(tmp_path / "geo", cells=cells, v4=v4, v6=v6)
    geo = GeoTable.open(tmp_path / "geo")
    after = small().document.model_dump(mode="json")
    after["overrides"] = [{"id": "o", "cidr": "2500::/16", "regions": ["gru"], "mode": "only"}]
    old, new = (steering_of(plan, status_of(), geo) for plan in (small(), plan_of(after)))
    told = simulate(old, new, NAME)
    assert (told.moved, told.moved_ipv6, told.upset) == (0, 0.25, 0.25)


def test_clients_of_both_families_are_one_list() -> None:
    clients = [ip_address(each) for each in ("10.1.1.1", "20.1.1.1", "2400::1", "20.2.2.2")]
    told = compared(small(), small(nyc={"weight": 0}), clients=clients)
    assert (told.clients, told.moved) == (4, 0.5)
