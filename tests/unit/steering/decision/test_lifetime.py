"""An answer is kept no longer than until health could change it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import combinations
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import addresses
from firsthop_steering.decision.lifetime import Lifetimes
from firsthop_steering.decision.topology import Client, Topology
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status, VantageVerdict
from firsthop_steering.health.slow_start import next_step_s
from firsthop_steering.health.verdicts import Liveness, Streak, next_change_s, observe
from firsthop_steering.plan.model import Probe, Service
from support.worlds import (
    NOW,
    VANTAGE,
    europe_and_america,
    plan_of,
    random_address,
    random_geo,
    random_plan,
    random_status,
    status_of,
    usable_of,
)


def ttls(status: Status, service: dict[str, Any] | None = None) -> dict[str, int]:
    """The TTL of each region's answers, and under "" of those in which none answers.

    `fra` is probed every 4 s, `iad` every 10 s, both with rise 2 and fall 3.
    """
    plan = plan_of(
        {
            "regions": [
                {"id": "fra", "latitude": 50.1, "longitude": 8.7},
                {"id": "iad", "latitude": 39.0, "longitude": -77.5},
                {"id": "old", "latitude": 1, "longitude": 2, "state": "draining"},
            ],
            "relays": [
                {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "probe": {"interval_s": 4}},
                {"id": "fra-2", "region": "fra", "ipv4": "192.0.2.2", "state": "disabled"},
                {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.3", "probe": {"interval_s": 10}},
                {"id": "old-1", "region": "old", "ipv4": "192.0.2.4"},
            ],
            "services": [
                {"id": "s", "name": "s.edge.example.", "ttl": 60, "ttl_min": 0, **(service or {})}
            ],
        }
    )
    steering = Steering(Topology(plan, europe_and_america()), status, NOW, vantage=VANTAGE)
    lifetimes = Lifetimes(steering, plan.document.services[0], "relays")
    sites = steering.topology.pools["relays"]
    return {site.id: lifetimes.ttl(site) for site in sites[:2]} | {"": lifetimes.ttl(None)}


def test_what_is_up_may_fall() -> None:
    """Three failures of its own relay; what the other region does is no matter."""
    assert ttls(status_of(fra_1="up", iad_1="up")) == {"fra": 12, "iad": 30, "": 60}


def test_what_is_down_may_rise_and_take_clients_back() -> None:
    """Two successes of fra-1 would move clients of every other answer."""
    assert ttls(status_of(fra_1="down", iad_1="up")) == {"fra": 8, "iad": 8, "": 8}
    only = {"regions": ["iad"]}
    assert ttls(status_of(fra_1="down", iad_1="up"), only)["iad"] == 30


def test_with_all_down_the_first_to_rise_counts() -> None:
    """Whatever `when_all_down` says: any relay that comes back changes the answer."""
    assert set(ttls(status_of(fra_1="down", iad_1="down")).values()) == {8}


def test_a_relay_that_wants_no_sessions_does_not_turn_by_probes() -> None:
    """A region that drains is no region that may come back in so and so many checks."""
    status = Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={"fra-1": RelayStatus(verdict="down", draining=True), "iad-1": RelayStatus()},
    )
    assert ttls(status)["iad"] == 30


def seen(**words: str) -> Status:
    """All relays are up by the word of all; from here they are as `words` say."""
    return Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={
            name.replace("_", "-"): RelayStatus.model_validate(
                {"verdict": "up", "vantages": {VANTAGE: {"verdict": word, "since": NOW}}}
            )
            for name, word in words.items()
        },
    )


def test_a_vantage_may_be_believed_again_or_no_longer() -> None:
    """Cut off, it is believed as soon as one relay rises; when the last one falls it is cut off."""
    local = {"view": "local"}
    assert ttls(seen(fra_1="down", iad_1="down"))["iad"] == 30, "of no concern to a global view"
    assert ttls(seen(fra_1="down", iad_1="down"), local) == {"fra": 8, "iad": 8, "": 8}
    assert ttls(seen(fra_1="up", iad_1="up"), local) == {"fra": 12, "iad": 30, "": 30}
    assert ttls(seen(fra_1="up", iad_1="unknown"), local)["iad"] == 30


def test_where_nobody_measures_nothing_changes() -> None:
    """A lone edge without probers gives the whole TTL; so does one whose probers know nothing."""
    for status in (status_of(0), status_of(fra_1="unknown", iad_1="unknown")):
        assert set(ttls(status).values()) == {60}
    assert ttls(status_of(fra_1="unknown", iad_1="up"))["fra"] == 12, "unknown may fall"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"ttl_min": None}, 30),
        ({"ttl_min": None, "ttl": 7}, 7),
        ({"ttl_min": None, "ttl": 25}, 13),
        ({"ttl_min": 20}, 20),
        ({"ttl_min": 0, "ttl": 5}, 5),
    ],
)
def test_the_bounds_hold(bounds: dict[str, int | None], expected: int) -> None:
    """Without `ttl_min` a TTL is not pressed below half of it, rounded up."""
    assert ttls(status_of(fra_1="up", iad_1="up"), bounds)["fra"] == expected


VERDICTS: st.SearchStrategy[Liveness] = st.sampled_from(["up", "down", "unknown"])


@given(VERDICTS, st.integers(1, 6), st.integers(1, 6), st.lists(st.booleans(), max_size=30))
def test_no_outcomes_turn_a_relay_sooner(
    verdict: Liveness, rise: int, fall: int, outcomes: list[bool]
) -> None:
    """Whatever checks say; and when all contradict, it turns just then."""
    probe = Probe(interval_s=2.0, rise=rise, fall=fall)
    checks = next_change_s(verdict, probe) / probe.interval_s
    streak = Streak(verdict)
    for count, ok in enumerate(outcomes, start=1):
        streak = observe(streak, ok, rise, fall)
        if (streak.verdict == "down") != (verdict == "down"):
            assert count >= checks
            break
    streak = Streak(verdict)
    for count in range(1, round(checks) + 1):
        streak = observe(streak, verdict == "down", rise, fall)
        assert ((streak.verdict == "down") != (verdict == "down")) == (count == checks)


Said = TypeVar("Said", RelayStatus, VantageVerdict)


def turned(plan: Plan, status: Status, within_s: float) -> Iterator[Status]:
    """What the status may be before `within_s` have gone: up to two changes that are due."""
    due: list[tuple[str, Callable[[RelayStatus], RelayStatus]]] = []
    for relay in plan.document.relays:
        held = status.relays.get(relay.id, RelayStatus())
        for verdict in {held.verdict, *held.families.values()}:
            if next_change_s(verdict, relay.probe) < within_s:
                due.append((relay.id, partial(_flipped, verdict=verdict)))
        seen = held.vantages.get(VANTAGE)
        for verdict in {seen.verdict, *seen.families.values()} - {"unknown"} if seen else ():
            if next_change_s(verdict, relay.probe) < within_s:
                due.append((relay.id, partial(_seen_otherwise, verdict=verdict)))
        if next_step_s(held.share, relay.probe.slow_start_s) < within_s:
            due.append((relay.id, _one_step_on))
    for few in (*combinations(due, 1), *combinations(due, 2)):
        changed = dict(status.relays)
        for name, change in few:
            changed[name] = change(changed.get(name, RelayStatus()))
        yield status.model_copy(update={"relays": changed})


def _seen_otherwise(held: RelayStatus, verdict: Liveness) -> RelayStatus:
    words = held.vantages | {VANTAGE: _flipped(held.vantages[VANTAGE], verdict)}
    return held.model_copy(update={"vantages": words})


def _flipped(held: Said, verdict: Liveness) -> Said:
    """What was `verdict`, of both families or of one, is the opposite."""
    other = "up" if verdict == "down" else "down"
    families = {name: other if each == verdict else each for name, each in held.families.items()}
    whole = other if held.verdict == verdict and not held.families else held.verdict
    ranked = [each for each in ("up", "unknown", "down") if each in families.values()]
    return held.model_copy(update={"families": families, "verdict": ranked[0] if ranked else whole})


def _one_step_on(held: RelayStatus) -> RelayStatus:
    return held.model_copy(update={"share": min(100, held.share + 20)})


def answered(steering: Steering, service: Service, client: Client) -> tuple[object, ...]:
    decision = steering.decide(service, client)
    if decision.site is None:
        return (decision.ranking.outcome,)
    ignore_health = decision.ranking.outcome == "open"
    usable = usable_of(steering, decision.site, ignore_health=ignore_health)
    return decision.ranking.outcome, addresses(usable, decision.bucket, service.answers)


@given(st.integers(0, 2**32))
def test_no_turn_within_the_ttl_changes_the_answer(seed: int) -> None:
    """In random worlds: before the TTL is over no relay can have turned whose turn matters."""
    rng = random.Random(seed)
    plan, geo = random_plan(rng), random_geo(rng, 5)
    topology, status = Topology(plan, geo), random_status(rng, plan)
    if all(each.verdict == "unknown" for each in status.relays.values()):
        return
    service = topology.services["s"].model_copy(update={"ttl": 300, "ttl_min": 0})
    steering = Steering(topology, status, NOW, vantage=VANTAGE)
    lifetimes = Lifetimes(steering, service, "relays")
    clients = [topology.client(random_address(rng, geo)) for _ in range(4)]
    for client in clients:
        ttl = lifetimes.ttl(steering.decide(service, client).site)
        before = answered(steering, service, client)
        end = NOW + timedelta(seconds=ttl, milliseconds=-1)
        for later in (status, *turned(plan, status, ttl)):
            then = Steering(topology, later, end, vantage=VANTAGE)
            assert answered(then, service, client) == before
