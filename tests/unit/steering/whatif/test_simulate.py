"""What a change does to clients: the same as deciding for each of them before and after."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.model import Decision
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.model import Region
from firsthop_steering.whatif.simulate import simulate, with_lost_relays
from firsthop_steering.whatif.simulation import Simulation
from support.seeds import random_worlds
from support.worlds import (
    NOW,
    VANTAGE,
    europe_and_america,
    plan_of,
    random_address,
    random_geo,
    random_latency,
    random_plan,
    random_steering,
    status_of,
)

NAME = "s.edge.example."


def _decide(steering: Steering, address: IPv4Address | IPv6Address) -> Decision:
    """As DNS answers to a query of the client's own family."""
    service, client = steering.topology.services["s"], steering.topology.client(address)
    return steering.of(service, client.address_family).decide(service, client)


SIZE = 1 << 24
"""Addresses in each of the three located /8 of `europe_and_america`."""


def steering_of(plan: Plan, status: Status, geo: Any) -> Steering:
    return Steering(Topology(plan, geo), status, NOW, vantage=VANTAGE)


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


@random_worlds(60)
def test_single_clients_go_where_decide_sends_them(rng: random.Random) -> None:
    """Any plans, statuses, prices and learned latency, any clients: each move is two decisions."""
    geo = random_geo(rng, 9)
    old, new = random_steering(rng, geo), random_steering(rng, geo)
    clients = [random_address(rng, geo) for _ in range(200)]
    told = simulate(old, new, NAME, clients)
    moves: Counter[tuple[str | None, str | None]] = Counter()
    round_trips: list[float] = []
    for address in clients:
        pair = []
        for each in (old, new):
            decision = _decide(each, address)
            pair.append(decision.site.id if decision.site else None)
        moves[pair[0], pair[1]] += 1
        if decision.chosen is not None:
            round_trips.append(decision.preferences[decision.chosen].rtt_ms)
    wanted = {pair: count for pair, count in moves.items() if pair[0] != pair[1]}
    assert {(m.source, m.target): round(m.share * 200) for m in told.moves} == wanted
    assert round(told.moved * 200) == sum(n for (old_, _), n in wanted.items() if old_)
    assert round(told.lost * 200) == sum(n for (_, new_), n in wanted.items() if not new_)
    assert round(told.gained * 200) == sum(n for (old_, _), n in wanted.items() if not old_)
    for each in told.regions:
        here = sum(n for (_, to), n in moves.items() if to == each.region)
        assert round(each.after * 200) == here
    assert (told.clients, told.moved_ipv6) == (200, None)
    if round_trips:
        assert told.rtt_after.mean_ms == pytest.approx(mean(round_trips), abs=0.001)
        for p, place in ((told.rtt_after.p50_ms, 0.5), (told.rtt_after.p95_ms, 0.95)):
            exact = sorted(round_trips)[ceil(place * len(round_trips)) - 1]
            assert p == pytest.approx(exact, abs=0.0101)
    else:
        assert told.rtt_after.mean_ms is None


@random_worlds(20)
def test_everybody_is_every_located_address(rng: random.Random) -> None:
    """Where no region keeps a part only, the first address of each range speaks for the range."""
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
        topology = Topology(plan, geo)
        rtt = RttMap(topology, random_latency(rng, plan, geo))
        sides.append(Steering(topology, status_of(), NOW, rtt=rtt))
    edges = {*map(int, geo.v4_starts), 1 << 32}
    for each in sides:
        pieces = each.rtt.pieces("relays", 4)
        edges |= {*pieces.firsts.tolist(), *(last + 1 for last in pieces.lasts.tolist())}
    moved, total, spent = 0, 0, 0.0
    for first, end in pairwise(sorted(edges)):
        decisions = [_decide(each, IPv4Address(first)) for each in sides]
        if decisions[0].client.cell is None:
            continue
        old, new = (each.site.id if each.site else None for each in decisions)
        total += end - first
        moved += (end - first) * (old is not None and old != new)
        if decisions[1].chosen is not None:
            spent += (end - first) * decisions[1].preferences[decisions[1].chosen].rtt_ms
    told = simulate(sides[0], sides[1], NAME)
    assert told.clients == total
    assert told.moved == pytest.approx(moved / total, abs=1e-6)
    if told.rtt_after.mean_ms is not None:
        answered = sum(each.after for each in told.regions)
        assert told.rtt_after.mean_ms * answered == pytest.approx(spent / total, abs=0.01)


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
    now, topology = status_of(fra_0="up", nyc_0="up"), Topology(small(), geo)
    told = simulate(
        Steering(topology, now, NOW),
        Steering(topology, with_lost_relays(now, plan, (), ("fra",)), NOW),
        NAME,
    )
    assert {(m.source, m.target) for m in told.moves} == {("fra", "nyc")}
    closed = Topology(plan, geo)
    nobody = with_lost_relays(now, plan, ("fra-0",), ("nyc", "gru"))
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
