"""The planner's problem out of demand, plan and status."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Latency, Status
from firsthop_steering.planner import groups
from firsthop_steering.planner.demand import DemandClients
from firsthop_steering.planner.groups import (
    CELL,
    ClientGroups,
    DemandRows,
    rows_of,
    supply_of,
)
from firsthop_steering.rtt.samples import parse_prefix
from support.worlds import NOW, europe_and_america, plan_of, status_of

GEO = europe_and_america()
BERLIN, NEW_YORK, NOWHERE = CELL, CELL + 1, CELL + 4
REGIONS: list[dict[str, Any]] = [
    {"id": "fra", "latitude": 50.11, "longitude": 8.68},
    {"id": "gru", "latitude": -23.4, "longitude": -46.5},
    {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
]
RELAYS = [
    {"id": f"{region['id']}-{n}", "region": region["id"], "ipv4": f"192.0.2.{place * 2 + n}",
     "capacity": 100}
    for place, region in enumerate(REGIONS) for n in (1, 2)
]  # fmt: skip
SERVICE = {"id": "relay", "name": "relay.edge.example."}


def steering_of(status: Status | None = None, **document: Any) -> Steering:
    base = {"regions": REGIONS, "relays": RELAYS, "services": [SERVICE]}
    topology = Topology(plan_of({**base, **document}), GEO)
    return Steering(topology, status or status_of(), NOW)


def chart(latency: Latency | None = None, **document: Any) -> ClientGroups:
    topology = steering_of(**document).topology
    return ClientGroups.of(RttMap(topology, latency))


def rows(
    steering: Steering, *wanted: tuple[int, float], client_groups: ClientGroups | None = None
) -> DemandRows:
    """Of clients of the service: group and count."""
    clients = DemandClients(
        ("relay",) * len(wanted),
        np.array([group for group, _ in wanted], dtype=np.uint64),
        np.array([count for _, count in wanted]),
    )
    return rows_of(clients, client_groups or chart(), steering)


def fields(found: DemandRows) -> list[list[int]]:
    """Where each row may go."""
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in found.cost_ms]


def test_clients_who_ask_for_ipv6_may_only_go_where_it_is() -> None:
    """If families are steered separately; together both go where the nearest region is."""
    relays = [
        each | ({} if each["region"] == "fra" else {"ipv6": f"2001:db8::{n}"})
        for n, each in enumerate(RELAYS)
    ]
    clients = DemandClients(
        ("relay",) * 3,
        np.array([BERLIN] * 3, dtype=np.uint64),
        np.array([5.0, 3.0, 2.0]),
        (None, "ipv4", "ipv6"),
    )
    for families, allowed in (("separate", [1, 2]), ("together", [0, 1, 2])):
        services = [SERVICE | {"families": families}]
        found = rows_of(clients, chart(), steering_of(relays=relays, services=services))
        by_clients = dict(zip(found.clients.tolist(), fields(found), strict=True))
        assert by_clients == {5.0: [0, 1, 2], 3.0: [0, 1, 2], 2.0: allowed}


def test_costs_are_what_edges_rank_by() -> None:
    """The same round trips less the same bias, to the microsecond's rounding."""
    region = {**REGIONS[0], "bias_ms": 7.0}
    steering = steering_of(regions=[region, *REGIONS[1:]])
    found = rows(steering, (BERLIN, 5.0), (NEW_YORK, 2.0), (NOWHERE, 1.0))
    assert found.clients.tolist() == [5.0, 2.0, 1.0]
    for row, cell in zip(found.cost_ms, (0, 1, 4), strict=True):
        expected = steering.topology.rtt_us("relays")[:, cell] / 1000 - [7.0, 0.0, 0.0]
        np.testing.assert_allclose(row, expected, atol=0.001)


def test_a_learned_prefix_is_a_group_with_its_own_costs() -> None:
    """Where its row says nothing its cell does."""
    prefix = parse_prefix("10.1.2.0/24")
    client_groups = chart(
        Latency(
            number=1,
            lineage="test",
            created_at=NOW,
            regions=("fra", "gru", "nyc"),
            base_ms=(4.0,) * 3,
            prefixes={"10.1.2.0/24": (900, None, 100)},
        )
    )
    steering = steering_of()
    some = np.array([prefix, parse_prefix("10.1.3.0/24")], dtype=np.uint64)
    assert client_groups.groups_of(some).tolist() == [prefix, BERLIN]
    found = rows(steering, (prefix, 1.0), (BERLIN, 1.0), client_groups=client_groups)
    assert found.cost_ms[0, [0, 2]].tolist() == [90.0, 10.0]
    assert found.cost_ms[0, 1] == pytest.approx(found.cost_ms[1, 1])


def test_of_whom_overrides_speak_is_a_group_of_its_own() -> None:
    """By CIDR and by AS number; a country is what cells know themselves."""
    overrides = [
        {"id": "net", "cidr": "10.7.0.0/16", "mode": "avoid", "regions": ["fra"]},
        {"id": "as", "asn": 64500, "mode": "only", "regions": ["nyc", "gru"]},
        {"id": "us", "country": "US", "mode": "prefer", "regions": ["gru"]},
    ]
    steering = steering_of(overrides=overrides)
    nets = [parse_prefix(text) for text in ("10.7.1.0/24", "30.1.1.0/24", "10.8.1.0/24")]
    client_groups = chart(overrides=overrides)
    found = client_groups.groups_of(np.array(nets, dtype=np.uint64)).tolist()
    assert found == [*nets[:2], BERLIN]
    wanted = [(group, 1.0) for group in (*found, NEW_YORK)]
    assert sorted(fields(rows(steering, *wanted))) == [[0, 1, 2], [1], [1, 2], [2]]


def test_who_may_not_serve_costs_infinitely_much() -> None:
    """By the service, by the region's state, and with all relays down."""
    service = {**SERVICE, "regions": ["fra", "gru"]}
    assert fields(rows(steering_of(services=[service]), (BERLIN, 1.0))) == [[0, 1]]
    draining = [{**REGIONS[0], "state": "draining"}, *REGIONS[1:]]
    assert fields(rows(steering_of(regions=draining), (BERLIN, 1.0))) == [[1, 2]]
    down = status_of(nyc_1="down", nyc_2="down", fra_1="down")
    assert fields(rows(steering_of(down), (BERLIN, 1.0))) == [[0, 1]]
    closed = {**SERVICE, "when_all_down": "closed", "regions": ["nyc"]}
    assert fields(rows(steering_of(down, services=[closed]), (BERLIN, 1.0))) == []


def test_a_weight_splits_the_clients() -> None:
    """To those whom a region does not keep it is as if it were not there."""
    light = [{**REGIONS[0], "weight": 25}, *REGIONS[1:]]
    found = rows(steering_of(regions=light), (BERLIN, 8.0))
    assert fields(found) == [[0, 1, 2], [1, 2]]
    assert found.clients.tolist() == [2.0, 6.0]


def test_small_groups_join_the_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose nearest region is theirs; nobody is lost."""
    monkeypatch.setattr(groups, "MAX_GROUPS", 2)
    wanted = [(BERLIN, 9.0), (NEW_YORK, 5.0), (NOWHERE, 1.0), (CELL + 2, 2.0)]
    found = rows(steering_of(), *wanted)
    assert len(found.clients) == 2
    assert found.clients.sum() == 17.0


def test_supply_is_what_is_up_and_what_it_carries() -> None:
    """A relay that starts slowly counts by its share; one without capacity has room for all."""
    told = {
        "fra-1": {"verdict": "up", "share": 40, "sessions": 7},
        "fra-2": {"verdict": "up", "sessions": 5},
        "gru-1": {"verdict": "down", "sessions": 9},
        "gru-2": {"verdict": "up", "sessions": 3},
        "nyc-1": {"verdict": "up", "sessions": 1},
    }
    status = Status.model_validate(
        {"number": 1, "lineage": "test", "created_at": NOW, "relays": told}
    )
    relays = [{**each, "capacity": None} if each["id"] == "nyc-2" else each for each in RELAYS]
    supply = supply_of(steering_of(status, relays=relays))
    assert supply.capacity.tolist() == [140.0, 100.0, np.inf]
    assert supply.sessions[:2].tolist() == [12.0, 3.0]
    assert np.isnan(supply.sessions[2])
    assert not supply.lost.any()
    away = [each for each in RELAYS if each["region"] != "gru"]
    supply = supply_of(steering_of(status_of(nyc_1="down", nyc_2="down"), relays=away))
    assert supply.lost.tolist() == [False, False, True], "where none should be, none is missed"
    assert supply.capacity.tolist() == [200.0, 0.0, 0.0]
