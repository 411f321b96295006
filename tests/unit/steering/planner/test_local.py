"""Prices of edges that hear no planner: they follow the load that is reported, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.planner.local import FULL, LOOSE, MOST_MS, adjusted
from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.problem import MOST_PRICE_MS, Problem

_USE = st.lists(st.floats(0, 5), min_size=3, max_size=3)


@given(st.lists(st.floats(0, MOST_PRICE_MS), min_size=3, max_size=3), _USE, st.floats(0, 1000))
def test_a_step_is_bounded_and_goes_the_right_way(
    prices: list[float], used: list[float], elapsed_s: float
) -> None:
    """Up above the one mark, down below the other; never negative, never beyond the most."""
    before, use = np.array(prices), np.array(used)
    after = adjusted(before, use, elapsed_s=elapsed_s, ttl_s=30)
    assert (after >= 0).all()
    assert (after <= MOST_PRICE_MS).all()
    assert (np.abs(after - before) <= MOST_MS + 1e-9).all()
    assert (after[use >= LOOSE] >= before[use >= LOOSE]).all()
    assert (after[use <= FULL] <= before[use <= FULL]).all()


def test_what_is_not_reported_stays() -> None:
    """A cut-off edge may not hear of all regions."""
    after = adjusted(np.array([7.0, 7.0]), np.array([np.nan, 1.4]), elapsed_s=30, ttl_s=30)
    assert after == pytest.approx([7.0, 12.0])


def test_overload_ends_without_a_planner() -> None:
    """Most demand is nearest to one region that cannot bear it: after an hour of TTLs nobody is
    above capacity, and the prices have come to rest."""
    draw = np.random.default_rng(1)
    cost = np.column_stack([draw.uniform(5, 20, 200), draw.uniform(20, 60, (200, 2))])
    problem = Problem(cost, draw.lognormal(0, 1, 200), np.zeros(3))
    total = float(problem.demand.sum())
    capacity = np.array([0.4, 0.4, 0.5]) * total
    relief, prices, seen = reliefs(("a", "b", "c")), np.zeros(3), []
    for _ in range(120):
        load = outcome(Problem(cost, problem.demand, capacity), prices, relief).load
        prices = adjusted(prices, load / capacity, elapsed_s=30, ttl_s=30)
        seen.append(prices)
    assert (load <= capacity).all()
    assert np.ptp(seen[-20:], axis=0).max() < 0.5
