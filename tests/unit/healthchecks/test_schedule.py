"""Slots do not drift, and patience is bounded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_healthchecks.schedule import JITTER, Schedule, backoff_s

chances = st.floats(0, 1, exclude_max=True)


@settings(deadline=None)
@given(
    st.floats(0, 1e6),
    st.floats(0.1, 3600),
    st.lists(st.tuples(chances, st.floats(0, 3)), max_size=50),
)
def test_slots_are_absolute(
    start: float, interval_s: float, steps: list[tuple[float, float]]
) -> None:
    """Every slot is once at most, and within a tenth behind its place, whatever checks took."""
    schedule = Schedule(start, interval_s)
    now, before = start, 0
    for chance, took in steps:
        at = schedule.next_after(now, chance)
        slot = math.floor((at - start) / interval_s + 1e-4)
        assert slot > before
        assert at > now
        assert -1e-4 <= (at - start) / interval_s - slot <= JITTER + 1e-4
        assert at - now <= interval_s * (1 + JITTER) + 1e-4
        now, before = at + took * interval_s, slot


def test_quick_checks_keep_their_rate() -> None:
    """A thousand slots later the phase is the one of the start."""
    schedule, now = Schedule(100.0, 1.0), 100.0
    for _ in range(1000):
        now = schedule.next_after(now + 0.004, 0.999)
    assert now == pytest.approx(1100.0999)


def test_what_was_missed_is_left_out() -> None:
    assert Schedule(0.0, 1.0).next_after(57.3, 0.5) == pytest.approx(58.05)


def test_a_timer_that_fires_early_repeats_no_slot() -> None:
    assert Schedule(0.0, 1.0).next_after(6.9999999, 0.0) == 8.0


@settings(deadline=None)
@given(st.integers(1, 10**6), chances)
def test_backoff_is_bounded_and_spread(failures: int, chance: float) -> None:
    assert 0.125 <= backoff_s(failures, chance) <= 5.0
    assert backoff_s(failures, chance) <= backoff_s(failures + 10, 0.0) * 2


def test_backoff_doubles() -> None:
    assert [backoff_s(n, 0.0) for n in range(1, 8)] == [0.125, 0.25, 0.5, 1.0, 2.0, 2.5, 2.5]
