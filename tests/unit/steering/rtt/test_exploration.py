"""What may be tried, by whom, and how often."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firsthop_steering.rtt.estimates import Estimates
from firsthop_steering.rtt.exploration import (
    CANDIDATES,
    MAX_GROUP_SHARE,
    SHARE,
    choose,
    explore,
    lower_bounds_ms,
)

_RTT = arrays(np.float64, (6, 5), elements=st.floats(1, 300))
_MASK = arrays(np.bool_, (6, 5))


@given(_RTT, _RTT, _MASK, arrays(np.float64, 6, elements=st.floats(0.1, 1000)))
def test_the_budget_holds_and_closed_regions_are_left_alone(
    rtt: np.ndarray, bounds: np.ndarray, may: np.ndarray, demand: np.ndarray
) -> None:
    """At most 3 % of all, 20 % of a group, and only where something may be gained."""
    bounds = np.minimum(bounds, rtt)
    held = np.argsort(rtt, axis=1)
    found = explore(bounds, rtt, held, may, demand)
    assert (found.rates * demand).sum() <= SHARE * demand.sum() * (1 + 1e-9)
    assert (found.rates <= MAX_GROUP_SHARE + 1e-9).all()
    assert not found.gain_ms[~may].any()
    assert not np.take_along_axis(found.gain_ms, held[:, :1], axis=1).any()
    second = np.take_along_axis(rtt, held[:, 1:2], axis=1)
    assert (bounds < second)[found.gain_ms > 0].all()
    assert (found.rates[(found.gain_ms <= 0).all(axis=1)] == 0).all()


@given(_RTT, arrays(np.float64, (6, CANDIDATES), elements=st.floats(0, 1, exclude_max=True)))
def test_draws_fall_on_different_promises(promise: np.ndarray, chance: np.ndarray) -> None:
    """Or on nothing where there is none, or no further one."""
    promise[0] = 0
    promise[1, 1:] = 0
    promise[:, 2] = 0
    chosen = choose(promise, chance)
    assert (chosen[0] == -1).all()
    assert chosen[1].tolist() == [0, -1]
    assert (np.take_along_axis(promise, chosen, axis=1)[2:] > 0).all()
    assert (chosen[2:, 0] != chosen[2:, 1]).all()


def test_a_bound_is_never_faster_than_light() -> None:
    """However uncertain the estimate is."""
    one = np.array([[50.0, 80.0]])
    found = lower_bounds_ms(Estimates(one, one, np.zeros((1, 2), np.int8), np.array([[30.0, 0.0]])))
    assert found[0, 0] == 30.0
    assert found[0, 1] == 0.0


def test_second_places_are_looked_at_once_first_ones_are_certain() -> None:
    """The first is certain; the second is not: a death of the first would find it untried."""
    rtt = np.array([[10.0, 30.0, 40.0]])
    bounds = np.array([[9.0, 20.0, 25.0]])
    found = explore(bounds, rtt, np.array([[0, 1, 2]]), np.ones((1, 3), bool), np.ones(1))
    assert found.gain_ms[0].tolist() == [0.0, 10.0, 5.0]
    assert 0 < found.rates[0] <= SHARE
