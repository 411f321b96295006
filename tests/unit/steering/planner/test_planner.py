"""Prices: nobody is overloaded by them, nobody is charged for nothing, and little moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.planner.highs import NoSolverError, lp_prices
from firsthop_steering.planner.market import RELIEF_MS, charged_ms, outcome, reliefs
from firsthop_steering.planner.plan import (
    MOST_FALL_MS,
    MOST_RISE_MS,
    corrected,
    eased,
    plan_prices,
    prices_without,
)
from firsthop_steering.planner.problem import TARGET_UTILISATION, Problem, merged
from firsthop_steering.rtt.samples import Floats

NAMES = tuple(f"r{number}" for number in range(6))
RELIEF = reliefs(NAMES)


def world(seed: int, *, times: float, groups: int = 120) -> Problem:
    """Groups on a line of regions, lognormal demand, capacity that fits nowhere in particular."""
    draw = np.random.default_rng(seed)
    at, sites = draw.uniform(0, 100, groups), np.linspace(5, 95, len(NAMES))
    cost = 5 + np.abs(at[:, None] - sites) + draw.uniform(0, 10, (groups, len(NAMES)))
    demand = draw.lognormal(0, 1, groups)
    capacity = draw.uniform(0.7, 1.3, len(NAMES))
    return Problem(cost, demand, capacity * times * demand.sum() / capacity.sum())


def no_solver(problem: Problem, start: Floats) -> Floats:
    """As where highspy is not installed."""
    raise NoSolverError("left out")


@pytest.mark.parametrize("solver", [lp_prices, no_solver])
@given(seed=st.integers(0, 2**32), times=st.sampled_from([1.1, 1.25, 2.0]))
@settings(max_examples=15, deadline=None)
def test_nobody_is_above_capacity(seed: int, times: float, solver: object) -> None:
    """With a tenth to spare in all; clients choose by bucket.

    Without HiGHS that little to spare is missed in one world of 70, by up to 5 %.
    """
    problem = world(seed, times=times)
    found = plan_prices(problem, NAMES, np.zeros(len(NAMES)), solver)  # type: ignore[arg-type]
    load = outcome(problem, found.prices, RELIEF).load
    most = 1.05 if solver is no_solver and times == 1.1 else 1.0
    assert (load <= most * problem.capacity).all()
    assert load.sum() == pytest.approx(problem.demand.sum())


@given(seed=st.integers(0, 2**32), lost=st.integers(0, len(NAMES) - 1))
@settings(max_examples=15, deadline=None)
def test_nobody_is_above_capacity_after_any_loss(seed: int, lost: int) -> None:
    """The prices for a loss lie ready, so an edge need not wait for a plan."""
    problem = world(seed, times=1.5)
    base = plan_prices(problem, NAMES, np.zeros(len(NAMES))).prices
    found = prices_without(problem, NAMES, base, lost).prices
    load = outcome(problem.without(lost), found, RELIEF).load
    assert load[lost] == 0
    assert (load <= problem.capacity).all()


def test_where_there_is_room_nothing_is_charged() -> None:
    """And everybody goes to the cheapest region."""
    problem = world(1, times=10.0)
    found = plan_prices(problem, NAMES, np.zeros(len(NAMES)))
    assert not found.prices.any()
    assert outcome(problem, found.prices, RELIEF).mean_ms == pytest.approx(
        float(problem.demand @ problem.cost_ms.min(axis=1) / problem.demand.sum())
    )


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_prices_that_still_do_are_kept(seed: int) -> None:
    """The same problem again moves nobody."""
    problem = world(seed, times=1.3)
    once = plan_prices(problem, NAMES, np.zeros(len(NAMES)))
    if once.worst <= 1.005:
        again = plan_prices(problem, NAMES, once.prices)
        np.testing.assert_allclose(again.prices, once.prices, atol=3.0)


def test_the_programme_finds_the_price_of_one_place() -> None:
    """Two groups of 10 want region 0, which takes 12: a part of the one that loses less goes. A
    place more would save what the marginal client loses: 7 ms."""
    problem = Problem(
        np.array([[10.0, 40.0], [10.0, 17.0]]), np.array([10.0, 10.0]), np.array([14.0, 14.0])
    )
    assert lp_prices(problem, np.zeros(2)) == pytest.approx([7.0, 0.0])


def test_a_start_that_leaves_pairs_out_gives_the_same_optimum() -> None:
    """Column generation brings them in."""
    problem = world(3, times=1.1)
    cold = lp_prices(problem, np.zeros(len(NAMES)))
    odd = lp_prices(problem, np.array([90.0, 0.0, 70.0, 0.0, 50.0, 0.0]))
    free = outcome(problem, cold, RELIEF).mean_ms
    assert outcome(problem, odd, RELIEF).mean_ms == pytest.approx(free, rel=0.02)
    np.testing.assert_allclose(cold, odd, atol=0.5)


def test_beyond_all_capacity_everybody_is_overloaded_alike() -> None:
    """Demand of 1.5 × all capacity: no region bears more than a few per cent above its share."""
    problem = world(4, times=1 / 1.5)
    found = plan_prices(problem, NAMES, np.zeros(len(NAMES))).prices
    used = outcome(problem, found, RELIEF).load / problem.capacity
    assert used.max() < 1.5 * 1.03


def test_limits_leave_room_to_choose() -> None:
    """85 %, or midway to full."""
    cost = np.zeros((1, 2))
    light = Problem(cost, np.array([10.0]), np.array([50.0, 50.0]))
    heavy = Problem(cost, np.array([90.0]), np.array([50.0, 50.0]))
    assert light.limits.tolist() == [50 * TARGET_UTILISATION] * 2
    assert heavy.limits == pytest.approx([47.5, 47.5])


def test_groups_that_may_go_nowhere_else_are_left_out_of_a_loss() -> None:
    """What a rule ties to the lost region has no place, and must not count elsewhere."""
    problem = Problem(
        np.array([[5.0, np.inf], [5.0, 9.0]]), np.array([3.0, 4.0]), np.array([10.0, 10.0])
    )
    assert problem.without(0).demand.tolist() == [0.0, 4.0]
    assert outcome(problem.without(0), np.zeros(2), reliefs(("a", "b"))).load.tolist() == [0.0, 4.0]


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_merging_changes_nothing(seed: int) -> None:
    """Groups with equal costs decide alike, so their demand counts as one."""
    draw = np.random.default_rng(seed)
    cost = draw.integers(1, 4, (40, 2)).astype(np.float64)
    problem = Problem(cost, draw.uniform(1, 5, 40), np.array([50.0, 60.0]))
    small, which = merged(problem)
    assert len(small.demand) <= 9
    np.testing.assert_array_equal(small.cost_ms[which], cost)
    prices = np.array([1.5, 0.0])
    relief = reliefs(("a", "b"))
    np.testing.assert_allclose(
        outcome(small, prices, relief).load, outcome(problem, prices, relief).load
    )


@given(st.floats(0, 100), st.floats(0.001, 5))
def test_what_is_charged_is_continuous_and_rises_with_the_price(price: float, more: float) -> None:
    """A small change of a price moves few, and never brings a client back."""
    prices = np.array([price, price + more])
    charged = charged_ms(prices, np.full(2, 0.6))
    assert 0 <= charged[0] <= price
    assert charged[0] <= charged[1] <= charged[0] + more + 1e-9
    assert charged[0] >= price - RELIEF_MS


def test_prices_move_no_faster_than_caches() -> None:
    """Up to 60 ms up and 5 ms down within a TTL; a longer silence allows no more."""
    before, wanted = np.array([0.0, 50.0, 10.0]), np.array([100.0, 0.0, 12.0])
    assert eased(before, wanted, elapsed_s=10, ttl_s=30) == pytest.approx(
        [MOST_RISE_MS / 3, 50 - MOST_FALL_MS / 3, 12.0]
    )
    assert eased(before, wanted, elapsed_s=3000, ttl_s=30) == pytest.approx(
        [MOST_RISE_MS, 50 - MOST_FALL_MS, 12.0]
    )


def test_a_region_that_reports_more_than_predicted_gets_less_room() -> None:
    """It converges to what is reported, and forgets it as slowly; never below 1."""
    factors = np.ones(2)
    for _ in range(100):
        factors = corrected(factors, np.array([120.0, 60.0]), np.array([100.0, 100.0]))
    assert factors == pytest.approx([1.2, 1.0], abs=1e-3)
    for _ in range(100):
        factors = corrected(factors, np.array([100.0, 0.0]), np.array([100.0, 0.0]))
    assert factors == pytest.approx([1.0, 1.0], abs=1e-3)
