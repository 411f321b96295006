"""Slots do not drift, and patience is bounded."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_healthchecks.schedule import JITTER, Schedule, backoff_s

chances = st.floats(0, 1, exclude_max=True)


keys = st.text(min_size=1, max_size=20)


@given(keys, st.floats(0, 1e6), st.floats(0.1, 3600), st.lists(st.floats(0, 3), max_size=50))
def test_rounds_are_absolute(key: str, start: float, interval_s: float, took: list[float]) -> None:
    """Every round is once at most and at its place ± 5 %, whatever checks took."""
    schedule = Schedule.of(key, start=start, interval_s=interval_s)
    now, last = start, -1
    for share in took:
        number = schedule.next_round(last, now)
        at = schedule.at(number)
        assert number > last
        assert now <= at <= now + interval_s * (1 + 2 * JITTER) + 1e-4
        place = start + (schedule.phase + number) * interval_s
        assert abs(at - place) <= JITTER * interval_s + 1e-4
        now, last = at + share * interval_s, number


def test_quick_checks_keep_their_rate() -> None:
    """A thousand rounds, and none is left out."""
    schedule, now, number = Schedule.of("a", start=100.0, interval_s=1.0), 100.5, 0
    for wanted in range(1, 1001):
        number = schedule.next_round(number, now)
        assert number == wanted
        now = schedule.at(number) + 0.004


def test_what_was_missed_is_left_out() -> None:
    schedule = Schedule.of("a", start=0.0, interval_s=1.0)
    number = schedule.next_round(3, 57.3)
    assert schedule.at(number - 1) < 57.3 <= schedule.at(number)


def test_a_timer_that_fires_early_repeats_no_round() -> None:
    schedule = Schedule.of("a", start=0.0, interval_s=1.0)
    assert schedule.next_round(6, schedule.at(6) - 1e-7) == 7


def test_targets_spread_evenly_over_the_interval() -> None:
    """No twentieth of the second has much more than its share of 5,000 targets."""
    bins = [0] * 20
    for n in range(5000):
        bins[int(Schedule.of(f"fra-a relay-{n}", start=0, interval_s=1).phase * 20)] += 1
    assert max(bins) < 250 + 5 * math.sqrt(250)
    assert min(bins) > 250 - 5 * math.sqrt(250)


def test_jitter_is_spread_and_the_same_at_every_start() -> None:
    schedule = Schedule.of("a", start=0.0, interval_s=1.0)
    again = Schedule.of("a", start=0.0, interval_s=1.0)
    jitters = [schedule.at(n) - n - schedule.phase for n in range(2000)]
    assert [again.at(n) for n in range(2000)] == [schedule.at(n) for n in range(2000)]
    assert min(jitters) < -0.049
    assert max(jitters) > 0.049
    assert abs(sum(jitters) / len(jitters)) < 0.003


@settings(deadline=None)
@given(st.integers(1, 10**6), chances)
def test_backoff_is_bounded_and_spread(failures: int, chance: float) -> None:
    assert 0.125 <= backoff_s(failures, chance) <= 5.0
    assert backoff_s(failures, chance) <= backoff_s(failures + 10, 0.0) * 2


def test_backoff_doubles() -> None:
    assert [backoff_s(n, 0.0) for n in range(1, 8)] == [0.125, 0.25, 0.5, 1.0, 2.0, 2.5, 2.5]
