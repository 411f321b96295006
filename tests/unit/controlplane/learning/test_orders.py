"""The order of regions that is published for each prefix, and when it is published anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from firsthop_controlplane.learning.orders import AT_LEAST, OMITTED, PrefixOrders, joined
from firsthop_steering.arrays import Floats

ONE = np.array([5], dtype=np.uint64)


def after(
    orders: PrefixOrders, *rtt: float, deviation: float = 0.1, cell: float = 0.0
) -> PrefixOrders:
    """A round with one prefix."""
    row = np.array([rtt])
    return orders.next(ONE, row, np.full_like(row, deviation), np.full_like(row, cell))


def ranked(orders: PrefixOrders) -> list[int]:
    row = np.where(orders.tenths == OMITTED, 10**9, orders.tenths)[0]
    return np.argsort(row, kind="stable").tolist()


def test_first_by_the_estimates_in_tenths() -> None:
    """No two regions tie: a tie would be drawn, and split the prefix."""
    orders = after(PrefixOrders.empty(3), 20.0, 10.04, 20.0)
    assert orders.tenths.tolist() == [[200, 100, 201]]


def test_a_region_passes_another_only_for_good() -> None:
    """Better by 5 ms in two rounds, where the order was measured; else it is told as it was."""
    orders = after(after(PrefixOrders.empty(2), 10.0, 40.0), 40.0, 10.0)
    assert ranked(orders) == [0, 1], "one round is not enough"
    orders = after(orders, 40.0, 10.0)
    assert ranked(orders) == [1, 0]
    for _ in range(3):
        orders = after(orders, 7.0, 10.0)
    assert ranked(orders) == [1, 0], "3 ms are not enough any more"


def test_a_row_that_hardly_moved_stays_as_it_is() -> None:
    """So that noise makes no snapshots."""
    orders = after(PrefixOrders.empty(2), 10.0, 40.0)
    near = after(orders, 12.0, 37.0)
    assert near.tenths.tolist() == [[100, 400]]
    assert after(near, 14.0, 40.0).tenths.tolist() == [[140, 400]]


def test_far_regions_are_left_to_the_cell_unless_that_makes_them_near() -> None:
    """The best eight are always said."""
    rtt = [10.0 + each for each in range(AT_LEAST)] + [200.0, 300.0]
    cell = np.full((1, len(rtt)), 250.0)
    cell[0, -1] = 30.0
    orders = PrefixOrders.empty(len(rtt)).next(ONE, np.array([rtt]), np.ones((1, len(rtt))), cell)
    assert orders.tenths[0, AT_LEAST:].tolist() == [OMITTED, 3000]


@given(shapes.arrays(np.float64, (7, 12), elements=st.floats(1, 400)), st.data())
def test_whoever_goes_on_from_what_was_published_publishes_the_same(
    rtt: Floats, data: st.DataObject
) -> None:
    """A new leader that learns the same."""
    prefixes = np.arange(7, dtype=np.uint64)
    deviation, cell = np.full_like(rtt, 50.0), np.full_like(rtt, 100.0)
    orders = PrefixOrders.empty(12).next(prefixes, rtt, deviation, cell)
    heir = PrefixOrders.published(prefixes, orders.tenths)
    chunk = data.draw(st.integers(1, 7))
    parts = [
        heir.next(prefixes[at], rtt[at], deviation[at], cell[at])
        for at in (slice(first, first + chunk) for first in range(0, 7, chunk))
    ]
    assert np.array_equal(joined(parts, 12).tenths, orders.tenths)
    assert np.array_equal(joined(parts, 12).prefixes, prefixes)


@given(
    st.lists(shapes.arrays(np.float64, (3, 9), elements=st.floats(1, 400)), min_size=1, max_size=4)
)
def test_what_is_published_is_in_the_order_held(rounds: list[Floats]) -> None:
    """Strictly: every region that is said goes before all that are held behind it."""
    orders, prefixes = PrefixOrders.empty(9), np.arange(3, dtype=np.uint64)
    for rtt in rounds:
        orders = orders.next(prefixes, rtt, np.full_like(rtt, 5.0), np.full_like(rtt, 400.0))
        for row, held in zip(orders.tenths, orders.held, strict=True):
            said = [each for each in row[held].tolist() if each != OMITTED]
            assert said == sorted(set(said))


def test_a_region_that_comes_moves_no_other() -> None:
    """What was published of the others goes on to hold."""
    orders = after(after(PrefixOrders.empty(2), 10.0, 20.0), 20.0, 19.0)
    assert ranked(orders) == [0, 1]
    moved = after(orders.moved([0, -1, 1]), 20.0, 90.0, 19.0)
    assert ranked(moved) == [0, 2, 1]
