"""What a planner makes of reports: whom they stand for, and when a round is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.demand import AnswersOfRegion, DemandReport
from firsthop_steering.feed.snapshot import RelayStatus, Status
from firsthop_steering.planner.groups import ClientGroups, restored, supply_of
from firsthop_steering.planner.planner import MAX_SHARE, MIN_NOTES, PLAN_S, Planner, capped_counts
from support.worlds import NOW, europe_and_america, plan_of, status_of

GEO = europe_and_america()
REGIONS: list[dict[str, Any]] = [
    {"id": "fra", "latitude": 50.11, "longitude": 8.68},
    {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
]
RELAYS = [
    {"id": f"{region}-{number}", "region": region, "ipv4": f"192.0.2.{place}", "capacity": 100}
    for place, (region, number) in enumerate((r, n) for r in ("fra", "nyc") for n in (1, 2))
]
SERVICE = {"id": "relay", "name": "relay.edge.example.", "ttl": 30}
DOCUMENT: dict[str, Any] = {"regions": REGIONS, "relays": RELAYS, "services": [SERVICE]}


def client_groups(document: dict[str, Any] = DOCUMENT) -> ClientGroups:
    return ClientGroups.of(RttMap(Topology(plan_of(document), GEO), None))


def report(answers: int, clients: dict[str, int], source: Any = "dns") -> DemandReport:
    told = AnswersOfRegion(
        service="relay", source=source, region="fra", answers=answers, clients=clients
    )
    return DemandReport(since=NOW, until=NOW, answers=(told,))


def crowd(count: int) -> dict[str, int]:
    return {f"10.{number // 250}.{number % 250}.0/24": 1 for number in range(count)}


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_no_prefix_counts_for_a_crowd(counts: list[int]) -> None:
    """More than its share it counts only where all are few; nobody counts for more than he is."""
    found = capped_counts(counts)
    most = max(MAX_SHARE * sum(found), sum(found) / len(found), MIN_NOTES)
    assert all(each <= most + 1 for each in found)
    assert all(0 < each <= before for each, before in zip(found, counts, strict=True))
    small = [each for each in counts if each <= MIN_NOTES]
    assert [each for each, before in zip(found, counts, strict=True) if before in small] == small


def test_one_that_asks_as_much_as_all_others_is_not_half_of_them() -> None:
    """By DNS, where anybody may ask; who allocates has shown a token, or opens sessions."""
    for source, share in (("dns", 0.05), ("allocations", 0.5)):
        planner = Planner(0.0)
        clients = crowd(200) | {"20.1.1.0/24": 200}
        planner.take(report(4000, clients, source), client_groups(), 0.0)
        found = planner.demand.clients(60.0)
        largest = found.count.min() / found.count.sum()  # New York's; the crowd is one cell
        assert largest == pytest.approx(share, rel=0.2)


def test_a_round_is_due_when_a_region_is_lost_or_the_plan_is_another() -> None:
    """And every ten seconds; every five while one is above its capacity."""
    planner = Planner(0.0)
    planner.take(report(4000, crowd(100)), client_groups(), 0.0)
    map_ = client_groups()

    def steering(status: Status) -> Steering:
        return Steering(map_.rtt.topology, status, NOW, rtt=map_.rtt)

    well = steering(status_of())
    assert planner.due(well, supply_of(well), 100.0)
    assert planner.round(well, map_, supply_of(well), lambda: 100.0) is not None
    assert not planner.due(well, supply_of(well), 101.0)
    assert planner.due(well, supply_of(well), 100.0 + PLAN_S)
    full = replace(supply_of(well), sessions=supply_of(well).capacity + 1)
    assert not planner.due(well, full, 104.9)
    assert planner.due(well, full, 105.0)
    lost = steering(status_of(fra_1="down", fra_2="down"))
    assert planner.due(lost, supply_of(lost), 101.0)
    other = client_groups({**DOCUMENT, "regions": REGIONS[:1], "relays": RELAYS[:2]})
    plan = plan_of(DOCUMENT, number=2)
    changed = Steering(Topology(plan, GEO), status_of(), NOW, rtt=RttMap(Topology(plan, GEO), None))
    assert planner.due(changed, supply_of(changed), 101.0)
    assert other.plan.number == 1


def test_a_plan_without_regions_wants_no_round() -> None:
    """Nobody can be sent anywhere."""
    planner = Planner(0.0)
    planner.take(report(4000, crowd(100)), client_groups(), 0.0)
    bare = client_groups({"services": [SERVICE]})
    nowhere = Steering(bare.rtt.topology, status_of(), NOW, rtt=bare.rtt)
    assert planner.round(nowhere, bare, supply_of(nowhere), lambda: 100.0) is None


def test_what_was_heard_of_relays_themselves() -> None:
    """A silent one carries what others of its region do; none is believed to carry twice its
    capacity; where all are silent nothing is known."""
    relays = {each["id"]: RelayStatus(verdict="up", sessions=1) for each in RELAYS}
    map_ = client_groups()
    status = status_of().model_copy(update={"relays": relays})
    here = Steering(map_.rtt.topology, status, NOW, rtt=map_.rtt)
    assert supply_of(here).sessions.tolist() == [2.0, 2.0]
    assert supply_of(here, {"fra-1": 70, "nyc-1": 10**9, "nyc-2": 0}).sessions.tolist() == [
        140.0, 200.0,
    ]  # fmt: skip
    only = supply_of(here, {"fra-1": 70})
    assert only.sessions[0] == 140.0
    assert np.isnan(only.sessions[1])


@pytest.mark.parametrize("sessions", [None, 0, 3, 25])
def test_a_region_that_is_back_is_the_nearest_again(sessions: int | None) -> None:
    """Six losses and returns, a minute each: the prices in force the moment it is back are
    nothing, whether its relays report no sessions, few or some, or nobody reports any."""
    map_ = client_groups()
    planner = Planner(0.0, warm_up_s=0.0)
    now = 0.0

    def turn(*down: str) -> None:
        nonlocal now
        now += PLAN_S
        planner.take(report(40, crowd(100)), map_, now)
        relays = {
            each["id"]: RelayStatus(verdict="down" if each["region"] in down else "up",
                                    sessions=sessions)
            for each in RELAYS
        }  # fmt: skip
        status = status_of().model_copy(update={"relays": relays})
        steering = Steering(map_.rtt.topology, status, NOW, rtt=map_.rtt)
        work = planner.round(steering, map_, supply_of(steering), lambda: now)
        if work is not None:
            work()

    for _ in range(3):
        turn()
    for region in ("fra", "nyc") * 3:
        for _ in range(6):
            turn(region)
        assert planner.rounds.in_force(["fra", "nyc"], []).tolist() == [0, 0]
        turn()
        assert planner.rounds.now == {}


def test_a_return_is_planned_by_what_could_be_answered_then() -> None:
    """Groups may go to the lost region again, and it has its whole capacity."""
    map_ = client_groups()
    planner = Planner(0.0)
    planner.take(report(4000, crowd(100)), map_, 0.0)
    lost = Steering(map_.rtt.topology, status_of(fra_1="down", fra_2="down"), NOW, rtt=map_.rtt)
    supply, clients = supply_of(lost), planner.demand.clients(60.0)
    found = restored(clients, map_, lost, supply.lost)
    assert found is not None
    assert np.isfinite(found.rows.cost_ms).all()
    assert found.rows.clients.sum() == pytest.approx(clients.count.sum())
    assert (supply.capacity.tolist(), found.capacity.tolist()) == ([0, 200], [200, 200])
    well = Steering(map_.rtt.topology, status_of(), NOW, rtt=map_.rtt)
    assert restored(clients, map_, well, supply_of(well).lost) is None
