"""A map that takes over what still holds of the former one is the map made from nothing."""

from __future__ import annotations

import random

import numpy as np

from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Pool, Topology
from firsthop_steering.feed.snapshot import Plan
from firsthop_steering.plan.document import Document
from support.seeds import random_worlds
from support.worlds import europe_and_america, random_geo, random_latency, random_plan

POOLS: tuple[Pool, ...] = ("relays", "signalling")


def changed(rng: random.Random, plan: Plan) -> Plan:
    """One region weighed anew, moved, gone or new; or nothing at all."""
    document = plan.document.model_dump(mode="json")
    region = rng.choice(document["regions"])
    change = rng.choice(["nothing", "weight", "moved", "gone", "new"])
    if change == "weight":
        region["weight"] = 7
    elif change == "moved":
        region["longitude"] = rng.uniform(-170, 170)
    elif change == "new":
        document["regions"].insert(
            0, {**region, "id": f"new-{rng.getrandbits(32)}", "latitude": 1.5}
        )
    elif change == "gone" and len(document["regions"]) > 1:
        document["regions"].remove(region)
        document["relays"] = [r for r in document["relays"] if r["region"] != region["id"]]
        document["overrides"] = []
        document["services"][0]["regions"] = None
    return plan.model_copy(update={"document": Document.model_validate(document)})


@random_worlds(60)
def test_what_is_taken_over_is_what_would_be_worked_out(rng: random.Random) -> None:
    """Through a chain of plans, with the same or other learned latency, or none."""
    geo = random_geo(rng, 9)
    plan, latency = random_plan(rng), None
    former = None
    for _ in range(6):
        found = RttMap.following(former, plan, geo, latency)
        wanted = RttMap(Topology(plan, geo), latency)
        assert (found.topology.plan, found.latency) == (plan, latency)
        for pool in POOLS:
            assert np.array_equal(found.rtt_us(pool), wanted.rtt_us(pool))
            for family in (4, 6):
                pieces, others = (each.pieces(pool, family) for each in (found, wanted))
                assert np.array_equal(pieces.firsts, others.firsts)
                assert np.array_equal(pieces.columns, others.columns)
            last = found.rtt_us(pool).shape[1] - 1
            assert found.sources(pool, last) == wanted.sources(pool, last)
        former = found
        plan = changed(rng, plan) if rng.random() < 0.8 else plan
        if rng.random() < 0.5:
            latency = rng.choice([None, random_latency(rng, plan, geo)])


def test_where_sites_stay_nothing_is_worked_out_again() -> None:
    """A weight changes no round trip: it is the same array; over another geo table it is not."""
    rng = random.Random(1)
    plan, geo = random_plan(rng), europe_and_america()
    former = RttMap.following(None, plan, geo, random_latency(rng, plan, geo))
    weighed = plan.model_copy(update={"number": 2})
    found = RttMap.following(former, weighed, geo, former.latency)
    assert found.topology.plan is weighed
    assert found.rtt_us("relays") is former.rtt_us("relays")
    other = RttMap.following(found, weighed, random_geo(rng, 9), former.latency)
    assert other.rtt_us("relays") is not found.rtt_us("relays")
