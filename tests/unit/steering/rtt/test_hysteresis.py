"""When the order of regions changes, and when it does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firsthop_steering.rtt.hysteresis import (
    MARGIN_MS,
    MARGIN_SHARE,
    Order,
    first_order,
    published_ms,
    reorder,
)

_RTT = arrays(np.float64, (4, 6), elements=st.floats(1, 300))
SURE = 1e-3


def settled(rtt: list[float]) -> Order:
    """An order between regions that have all been measured against each other."""
    order = first_order(np.array([rtt]))
    return Order(order.held, order.rtt_ms, np.ones_like(order.settled))


def after(order: Order, *rounds: list[float]) -> list[int]:
    """The order after rounds of estimates that are certain."""
    for rtt in rounds:
        order = reorder(order, np.array([rtt]), np.full((1, len(rtt)), SURE))
    return order.held[0].tolist()


def test_a_measured_order_needs_the_margin_twice() -> None:
    """max(5 ms, 10 %), in two rounds one after the other."""
    order = settled([20.0, 22.0])
    assert after(order, [20.0, 15.5], [20.0, 15.5]) == [0, 1]
    assert after(order, [20.0, 14.5]) == [0, 1]
    assert after(order, [20.0, 14.5], [20.0, 22.0], [20.0, 14.5]) == [0, 1]
    assert after(order, [20.0, 14.5], [20.0, 14.5]) == [1, 0]


def test_far_regions_need_a_tenth() -> None:
    """At 200 ms it takes 20."""
    order = settled([200.0, 210.0])
    assert after(order, [200.0, 185.0], [200.0, 185.0]) == [0, 1]
    assert after(order, [200.0, 179.0], [200.0, 179.0]) == [1, 0]


def test_the_prior_gives_way_to_what_is_certain_but_once() -> None:
    """A pair that measuring has put right is settled: it does not flap by 1 ms."""
    order = first_order(np.array([[20.0, 21.0]]))
    assert after(order, [20.0, 19.0], [20.0, 19.0]) == [1, 0]
    assert after(order, [20.0, 19.0], [20.0, 19.0], [18.0, 19.0], [18.0, 19.0]) == [1, 0]


def test_an_uncertain_gain_changes_nothing() -> None:
    """Where the difference may be noise."""
    order = first_order(np.array([[20.0, 21.0]]))
    for _ in range(3):
        order = reorder(order, np.array([[20.0, 19.0]]), np.full((1, 2), 3.0))
    assert order.held[0].tolist() == [0, 1]


def test_a_region_passes_several_at_once() -> None:
    """From the last place to the first, by enough."""
    assert after(settled([20.0, 30.0, 40.0]), [20.0, 30.0, 9.0], [20.0, 30.0, 9.0]) == [2, 0, 1]


@given(_RTT, _RTT, _RTT)
def test_estimates_published_agree_with_the_order(
    before: np.ndarray, then: np.ndarray, now: np.ndarray
) -> None:
    """A permutation; no region that stays behind is better by the margin in both rounds; what is
    published never contradicts it and never understates an RTT."""
    order = first_order(before)
    for rtt in (then, now):
        order = reorder(order, rtt, np.full(rtt.shape, 1e6))
    assert (np.sort(order.held, axis=1) == np.arange(6)).all()
    gain = np.minimum(
        np.take_along_axis(now, order.held, 1)[:, :-1]
        - np.take_along_axis(now, order.held, 1)[:, 1:],
        np.take_along_axis(then, order.held, 1)[:, :-1]
        - np.take_along_axis(then, order.held, 1)[:, 1:],
    )
    margin = np.maximum(MARGIN_MS, MARGIN_SHARE * np.take_along_axis(now, order.held, 1)[:, :-1])
    assert (gain <= margin).all()
    shown = published_ms(order)
    assert (np.diff(np.take_along_axis(shown, order.held, 1), axis=1) >= 0).all()
    assert (shown >= now).all()
