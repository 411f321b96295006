"""Prices in the decision and in the table: who leaves, how many, and what holds after a loss."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.charges import (
    LEVELS,
    RELIEF_MS,
    charged_us,
    charges_us,
    prices_in_force,
    relief_levels,
)
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rendezvous import BUCKETS, kept_buckets
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Prices
from firsthop_steering.planner.market import charged_ms, reliefs
from firsthop_steering.whatif.explain import explain
from support.worlds import NOW, europe_and_america, folder, plan_of, prices_of, status_of

BERLIN = [IPv4Address((10 << 24) + (number << 8)) for number in range(4096)]
"""Prefixes of one cell: 4,096 clients, of every bucket."""
SAO_PAULO = [IPv4Address((30 << 24) + (number << 8)) for number in range(256)]


def world(
    prices: Prices | None = None,
    *,
    weights: dict[str, int] | None = None,
    ahead_ms: float = 1.0,
    **relays: str,
) -> Steering:
    """Frankfurt is `ahead_ms` nearer to Berlin than Wien, which stands where Frankfurt does."""
    kept_by = {"fra": 100, "vie": 100, "gru": 100} | (weights or {})
    places = [
        {"id": "fra", "latitude": 50.1, "longitude": 8.7},
        {"id": "vie", "latitude": 50.1, "longitude": 8.7, "bias_ms": -ahead_ms},
        {"id": "gru", "latitude": -23.5, "longitude": -46.6},
    ]
    plan = plan_of(
        {
            "regions": [{**each, "weight": kept_by[str(each["id"])]} for each in places],
            "relays": [
                {"id": f"{each['id']}-1", "region": each["id"], "ipv4": f"192.0.2.{number}"}
                for number, each in enumerate(places)
            ],
            "services": [{"id": "s", "name": "s.edge.example."}],
        }
    )
    return Steering(Topology(plan, europe_and_america()), status_of(**relays), NOW, prices=prices)


def regions(steering: Steering, clients: list[IPv4Address]) -> list[str]:
    """Where each goes by `decide`; the table says the same of everybody."""
    path = folder() / "prices.table"
    compile_table(steering, path)
    table = AnswerTable.open(path).services[0]
    service, topology = steering.topology.services["s"], steering.topology
    found = []
    for client in clients:
        site = steering.decide(service, topology.client(client)).site
        found.append(site.id if site else "")
        assert table.answers[table.settle(4, int(client))].region == found[-1]
    return found


def share(names: list[str], region: str) -> float:
    return names.count(region) / len(names)


@pytest.mark.parametrize("price", [0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 4.0, 4.5])
def test_clients_leave_a_priced_region_little_by_little(price: float) -> None:
    """Nobody below the lead of 1 ms, everybody above it and the relief; between them a share."""
    found = regions(world(prices_of(fra=price)), BERLIN)
    leave = min(1.0, max(0.0, (price - 1) / min(price, RELIEF_MS))) if price else 0.0
    assert share(found, "vie") == pytest.approx(leave, abs=0.03)


def test_a_higher_price_only_sends_clients_away() -> None:
    """Those who leave at 1.5 ms stay away at 2.5 ms."""
    low, high = (regions(world(prices_of(fra=price)), BERLIN) for price in (1.5, 2.5))
    assert all(after == "vie" for before, after in zip(low, high, strict=True) if before == "vie")


def test_prices_come_before_weight() -> None:
    """A region of weight 50 keeps half of those whom its price leaves, and moves nobody else."""
    before = regions(world(prices_of(fra=2.0)), BERLIN)
    after = regions(world(prices_of(fra=2.0), weights={"fra": 50}), BERLIN)
    own = [now for then, now in zip(before, after, strict=True) if then == "fra"]
    assert 0.3 < share(before, "fra") < 0.7
    assert share(own, "fra") == pytest.approx(0.5, abs=0.03)
    assert all(now == "vie" for then, now in zip(before, after, strict=True) if then == "vie")


def test_a_loss_has_prices_of_its_own() -> None:
    """While Frankfurt is down Wien's other price holds, and no longer."""
    prices = prices_of(fra=0.5, without={"fra": {"vie": 500.0}})
    assert share(regions(world(prices), BERLIN), "fra") == 1
    assert share(regions(world(prices, fra_1="down"), BERLIN), "gru") == 1
    assert share(regions(world(prices, gru_1="down"), BERLIN), "fra") == 1


def test_of_several_losses_the_highest_prices_hold() -> None:
    """Those for each of them, and the ordinary ones; of one loss its own alone."""
    prices = prices_of(a=1.0, b=9.0, without={"x": {"a": 4.0}, "y": {"a": 2.0, "c": 3.0}})
    names = ("a", "b", "c")
    assert prices_in_force(prices, names, []) == (1000, 9000, 0)
    assert prices_in_force(prices, names, ["x"]) == (4000, 0, 0)
    assert prices_in_force(prices, names, ["x", "unknown"]) == (4000, 0, 0)
    assert prices_in_force(prices, names, ["x", "y"]) == (4000, 9000, 3000)
    assert prices_in_force(None, names, ["x"]) == (0, 0, 0)


def test_an_explanation_shows_the_price_and_what_was_paid() -> None:
    """The list price is the region's; what is paid of it differs from client to client."""
    steering = world(prices_of(fra=2.0))
    paid = set()
    for client in BERLIN[:200]:
        said = explain(steering, steering.topology.services["s"], client)
        fra = next(each for each in said["candidates"] if each["region"] == "fra")
        assert fra["price_ms"] == 2.0
        assert fra["score_ms"] == pytest.approx(fra["rtt_ms"] + fra["charged_ms"])
        paid.add(fra["charged_ms"])
    assert min(paid) >= 0
    assert max(paid) <= 2.0
    assert len(paid) > 20


def test_services_of_transceivers_pay_nothing() -> None:
    """Prices are of relay regions, whatever a transceiver region is called."""
    steering = world(prices_of(fra=2.0, vie=1.0))
    service = steering.topology.services["s"]
    assert steering.prices_us(service, "signalling") == ()
    assert steering.prices_us(service, "relays") == (2000, 0, 1000)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_the_table_splits_as_the_decision_does(seed: int) -> None:
    """Near regions, any prices and weights: the same region for every one of many prefixes."""
    rng = random.Random(seed)
    names = ("fra", "vie", "gru")
    prices = prices_of(**{name: rng.choice([0.0, rng.uniform(0, 6)]) for name in names})
    weights = {name: rng.choice([100, 100, 0, 40, 1]) for name in names}
    ahead_ms = rng.choice([0.0, 0.05, rng.uniform(-4, 4)])
    regions(world(prices, weights=weights, ahead_ms=ahead_ms), rng.sample(BERLIN, 300))


def test_the_planner_reckons_with_what_clients_pay() -> None:
    """Its arithmetic in milliseconds is the decision's in whole microseconds."""
    for price in (0.0, 0.3, 2.0, 3.0, 70.123):
        planned = charged_ms(np.array([price]), reliefs(["fra"]))[:, 0]
        assert np.abs(planned * 1000 - charges_us("fra", round(price * 1000))).max() <= 1.001
    levels = relief_levels("fra").tolist()
    assert charges_us("fra", 2500).tolist() == [charged_us(2500, level) for level in levels]
    assert set(levels) == set(range(LEVELS))


def test_reliefs_say_nothing_of_who_is_kept() -> None:
    """Else a weight would keep all whom a price leaves, or none of them."""
    for name in ("fra", "vie", "gru"):
        generous = relief_levels(name) >= LEVELS // 2
        both = (generous & kept_buckets(name, 50)).sum() / BUCKETS
        assert both == pytest.approx(0.25, abs=0.04)
