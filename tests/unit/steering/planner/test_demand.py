"""How many clients there are, by answers: kept for a while, forgotten by half in ten minutes."""

from __future__ import annotations

import pytest

from firsthop_steering.planner import demand
from firsthop_steering.planner.demand import HALF_LIFE_S, MAX_TIMES, Demand


def total(known: Demand, now: float) -> float:
    return float(known.clients(now).count.sum())


@pytest.mark.parametrize("minutes", [1, 5, 30, 400])
def test_a_steady_rate_is_so_many_clients_from_the_first_minute(minutes: int) -> None:
    """Ten answers a second that last 30 s are 300 clients."""
    known = Demand(0.0)
    for second in range(0, minutes * 60, 10):
        known.take("relay", {7: 3, 8: 1}, answers=100, lasts_s=30, now=float(second + 10))
    clients = known.clients(minutes * 60.0)
    assert total(known, minutes * 60.0) == pytest.approx(300, rel=0.03)
    count = dict(zip(clients.groups.tolist(), clients.count.tolist(), strict=True))
    assert count[7] == pytest.approx(3 * count[8])


def test_what_is_asked_no_more_is_forgotten_by_half() -> None:
    """In ten minutes each."""
    known = Demand(0.0)
    for second in range(0, 36_000, 10):
        known.take("relay", {7: 1}, answers=100, lasts_s=30, now=float(second))
    before = total(known, 36_000)
    assert total(known, 36_000 + HALF_LIFE_S) == pytest.approx(before / 2, rel=0.01)
    assert total(known, 36_000 + 3 * HALF_LIFE_S) == pytest.approx(before / 8, rel=0.01)


def test_services_that_are_gone_want_nothing() -> None:
    """As soon as the plan does not have them."""
    known = Demand(0.0)
    known.take("a", {7: 1}, answers=10, lasts_s=30, now=1.0)
    known.take("b", {7: 1}, answers=10, lasts_s=30, now=1.0)
    known.keep_only(["b"])
    assert known.clients(1.0).services == ("b",)


def test_a_clock_that_goes_back_adds_no_less() -> None:
    """It is monotonic anyway."""
    known = Demand(100.0)
    known.take("a", {7: 1}, answers=600, lasts_s=30, now=50.0)
    assert total(known, 160.0) == pytest.approx(300, rel=0.1)


def test_the_largest_groups_stand_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many: no service gains or loses by it."""
    monkeypatch.setattr(demand, "MAX_ENTRIES", 10)
    known = Demand(0.0)
    for group in range(11):
        known.take("many", {group: 1}, answers=group + 1, lasts_s=30, now=1.0)
        known.take("one", {group: 1}, answers=100, lasts_s=30, now=1.0)
    clients = known.clients(1.0)
    assert len(clients.groups) <= 16
    assert total(known, 1.0) == pytest.approx((66 + 1100) / 2, rel=0.05)


def test_one_source_never_drowns_the_others() -> None:
    """Whatever number it reports, of them a share is left; and it ends with its source."""
    known = Demand(0.0)
    for source in ("a", "b"):
        known.take("s", {1: 1}, answers=100, lasts_s=30, now=1.0, source=source)
    honest = total(known, 1.0)
    known.take("s", {2: 1}, answers=10**12, lasts_s=30, now=1.0, source="thief")
    assert total(known, 1.0) == pytest.approx(honest * (1 + MAX_TIMES))
    known.keep_sources(lambda source: source != "thief")
    assert known.clients(1.0).groups.tolist() == [1]
    assert total(known, 1.0) == pytest.approx(honest)


def test_a_source_with_many_groups_does_not_push_out_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand, "MAX_ENTRIES", 20)
    known = Demand(0.0)
    known.take("s", dict.fromkeys(range(5), 1), answers=5, lasts_s=30, now=1.0, source="a")
    for group in range(100, 200):
        known.take("s", {group: 1}, answers=1000, lasts_s=30, now=1.0, source="thief")
    assert set(range(5)) <= set(known.clients(1.0).groups.tolist())
