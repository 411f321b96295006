"""Who is checked when: a clock that is only a number tells."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_healthchecks.representatives.listing import MOST
from firsthop_healthchecks.representatives.rota import (
    LEAST_GAP_S,
    LONGEST_PAUSE_S,
    MOST_PER_S,
    Rota,
)
from firsthop_healthchecks.schedule import JITTER

NOW, WALL_S = 5_000.0, 1_800_000_000.0


def rota(many: int, every_s: float = 300.0, *, later_s: float = 0.0) -> Rota:
    """A rota that begins `later_s` after the start."""
    keys = [f"fra-1 {number}" for number in range(many)]
    return Rota(keys, every_s=every_s, now=NOW + later_s, wall_s=WALL_S + later_s)


def checks(
    of: Rota, until_s: float, *, answered: bool = True, took_s: float = 0.05
) -> list[tuple[float, int]]:
    """Everything that is checked up to `until_s` after the start: when, and who."""
    done, under_way = [], []
    while True:
        ends = under_way[0][0] if under_way else float("inf")
        at = min(of.next_at(), ends)
        if at > NOW + until_s:
            return done
        if ends <= at:
            of.ended(under_way.pop(0)[1], answered=answered, now=ends)
            continue
        who = of.take(at)
        assert who is not None
        done.append((at, who))
        under_way.append((at + took_s, who))


def gaps(done: list[tuple[float, int]]) -> dict[int, list[float]]:
    """Seconds between the checks of each."""
    times = defaultdict(list)
    for at, who in done:
        times[who].append(at)
    return {who: [b - a for a, b in pairwise(own)] for who, own in times.items()}


def test_each_is_checked_once_a_round_at_its_own_place() -> None:
    """Spread over the round, with a jitter, and without drift."""
    done = checks(rota(200), 3000.0)
    assert len(done) == pytest.approx(200 * 10, abs=200 * 0.2)
    assert {who for _, who in done} == set(range(200))
    for own in gaps(done).values():
        assert all(300 * (1 - 2 * JITTER) - 1 <= gap <= 300 * (1 + 2 * JITTER) + 1 for gap in own)
        assert len(set(own)) == len(own)
    tenths = [sum(n * 30 <= at - NOW < (n + 1) * 30 for at, _ in done) for n in range(10)]
    assert max(tenths) < 2 * 200 / 10


def test_all_together_are_checked_at_most_twenty_times_a_second() -> None:
    """Ten thousand need longer rounds; nobody is left out for it."""
    most = rota(MOST)
    assert most.interval_s == 625.0
    done = checks(most, 700.0)
    times = [at for at, _ in done]
    assert min(b - a for a, b in pairwise(times)) >= 1 / MOST_PER_S - 1e-6
    assert {who for _, who in done} == set(range(MOST))


@given(st.integers(1, 20), st.floats(60.0, 90.0), st.floats(0.01, 3.0))
def test_nobody_is_checked_twice_in_a_minute(many: int, every_s: float, took_s: float) -> None:
    """Whatever the jitter; and no round is left out for it."""
    done = checks(rota(many, every_s), 10 * every_s, took_s=took_s)
    for own in gaps(done).values():
        assert all(gap >= LEAST_GAP_S - 1e-6 for gap in own)
        assert all(gap < 1.5 * every_s for gap in own)


def test_who_does_not_answer_is_left_alone_twice_as_long_each_time() -> None:
    """Up to an hour; one answer ends that."""
    lone = rota(1)
    own = gaps(checks(lone, 30_000.0, answered=False))[0]
    wanted = [600, 1200, 2400, *[LONGEST_PAUSE_S] * 9]
    assert own == pytest.approx(wanted[: len(own)], abs=2 * JITTER * 300 + 1)
    assert len(own) >= 6
    at = lone.next_at()
    assert lone.take(at) == 0
    lone.ended(0, answered=True, now=at)
    assert lone.next_at() - at == pytest.approx(300, abs=2 * JITTER * 300 + 1)


def test_a_process_that_restarts_again_and_again_checks_nobody_more_often() -> None:
    """Rounds lie fixed on the wall clock."""
    steady = checks(rota(50), 600.0)
    restless = []
    for number in range(60):
        of = rota(50, later_s=10.0 * number)
        restless += [each for each in checks(of, 10.0 * (number + 1)) if each[0] <= NOW + 600]
    # A check that was late at a restart is one that its successor leaves out.
    assert len(steady) - 5 <= len(restless) <= len(steady)


def test_while_all_are_under_way_nobody_is_due() -> None:
    lone = rota(1)
    at = lone.next_at()
    assert lone.take(at - 0.01) is None
    assert lone.take(at) == 0
    assert lone.next_at() == float("inf")
    assert lone.take(at + 1000) is None
