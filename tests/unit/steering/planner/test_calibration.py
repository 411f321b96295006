"""What stands behind the answers that were counted is found by what relays carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.planner.calibration import MAX_EACH, Calibration

NAMES = ("fra", "gru", "nyc")
HOME = np.diag([100.0, 50.0, 20.0])
"""Nothing is charged: everybody goes home."""


def learn(
    known: Calibration, flows: np.ndarray, sessions: list[float], *, seconds: int = 0
) -> np.ndarray:
    """After one report, or one every 15 s for so long."""
    for _ in range(0, max(seconds, 1), 15):
        each = known.learn(NAMES, flows, np.array(sessions), elapsed_s=15, lag_s=30).each
    return each


def test_clients_of_each_home_count_for_what_is_carried() -> None:
    """A region's surge that no count of answers shows is known within two minutes."""
    known = Calibration()
    assert learn(known, HOME, [1000, 500, 200], seconds=60) == pytest.approx([10, 10, 10], rel=0.03)
    surge = learn(known, HOME, [2000, 500, 200], seconds=120)
    assert surge == pytest.approx([20, 10, 10], rel=0.07)


def test_a_surge_is_seen_wherever_prices_have_led_it() -> None:
    """Half of Frankfurt's clients are in New York by now: it is their doing that both carry more.
    Of 50,000 sessions more in New York a sixth is taken for its own clients' after ten minutes."""
    led = np.array([[50.0, 0.0, 50.0], [0.0, 50.0, 0.0], [0.0, 0.0, 20.0]])
    known = Calibration()
    learn(known, led, [50_000, 50_000, 70_000], seconds=60)
    each = learn(known, led, [100_000, 50_000, 120_000], seconds=120)
    assert each[0] == pytest.approx(2000, rel=0.1)
    each = learn(known, led, [100_000, 50_000, 120_000], seconds=600)
    assert each[:2] == pytest.approx([2000, 1000], rel=0.1)
    assert each[2] < 1000 + 50_000 / 6 / 20


def test_new_prices_are_no_news_before_clients_can_have_heard_them() -> None:
    """Who is led away is expected where he was for as long as answers are kept."""
    known = Calibration()
    before = learn(known, HOME, [1000, 500, 200], seconds=600)
    led = np.array([[50.0, 0.0, 50.0], [0.0, 50.0, 0.0], [0.0, 0.0, 20.0]])
    for second in range(15, 90, 15):
        left = max(1 - second / 30, 0.0)
        carried = [500 + 500 * left, 500, 700 - 500 * left]
        each = known.learn(NAMES, led, np.array(carried), elapsed_s=15, lag_s=30).each
        assert each == pytest.approx(before, rel=0.03)


def test_whoever_asks_without_sessions_counts_for_little() -> None:
    """A hundred times as many questions of one home, and no session more: its demand stays."""
    known = Calibration()
    learn(known, HOME, [1000, 500, 200], seconds=60)
    asked = HOME * np.array([1.0, 1.0, 100.0])
    each = learn(known, asked, [1000, 500, 200], seconds=600)
    assert each[2] * 2000 == pytest.approx(200, rel=0.07)
    assert each[:2] == pytest.approx([10, 10], rel=0.07)


def test_where_nothing_is_reported_clients_count_as_they_do_elsewhere() -> None:
    """And nothing is concluded of them."""
    known = Calibration()
    each = learn(known, HOME, [1000, np.nan, 200], seconds=300)
    assert each == pytest.approx([10, 10, 10], rel=0.03)


def test_what_no_answer_tells_of_is_nobodys_doing() -> None:
    """Whoever sees Frankfurt's clients alone finds that New York is full of others."""
    known = Calibration()
    seen = np.diag([100.0, 0.0, 0.0])
    for _ in range(20):
        found = known.learn(NAMES, seen, np.array([1000, 0, 900]), elapsed_s=15, lag_s=30)
    assert found.each[0] == pytest.approx(10, rel=0.05)
    assert found.unseen[2] == pytest.approx(900, rel=0.1)
    assert found.unseen[0] < 30


def test_caches_with_more_behind_them_than_the_mean_are_found_where_they_are() -> None:
    """New York has one of a hundred clients of Frankfurt, who brings three times as much: that is
    no reason to expect more of the others, and it is known within three minutes."""
    led = np.array([[99.0, 0.0, 1.0], [0.0, 50.0, 0.0], [0.0, 0.0, 0.0]])
    known = Calibration()
    for _ in range(18):
        found = known.learn(NAMES, led, np.array([990, 500, 30]), elapsed_s=10, lag_s=30)
    assert found.each[:2] == pytest.approx([10, 10], rel=0.05)
    assert found.unseen[2] + found.each[0] == pytest.approx(30, rel=0.1)


def test_a_report_that_is_missing_or_absurd_undoes_little() -> None:
    """Others fill New York, whose relays say nothing once; then Frankfurt's restart, and say 0."""
    known, seen = Calibration(), np.diag([100.0, 0.0, 0.0])

    def report(fra: float, nyc: float) -> tuple[float, float]:
        found = known.learn(NAMES, seen, np.array([fra, 0, nyc]), elapsed_s=10, lag_s=30)
        return found.each[0], found.unseen[2]

    for _ in range(60):
        report(1000, 900)
    assert report(1000, np.nan)[1] == pytest.approx(900, rel=0.02)
    assert report(0, 900)[0] > 5
    for _ in range(3):
        each, _ = report(1000, 900)
    assert each == pytest.approx(10, rel=0.1)


def test_what_homes_can_answer_for_is_not_held_for_unseen_for_long() -> None:
    """Frankfurt's clients are away at first; when all are at home the load there is theirs."""
    away = np.array([[10.0, 0.0, 90.0], [0.0, 50.0, 0.0], [0.0, 0.0, 20.0]])
    known = Calibration()
    for _ in range(30):
        found = known.learn(NAMES, away, np.array([400, 500, 1100]), elapsed_s=10, lag_s=30)
    assert found.unseen[0] > 100
    for _ in range(120):
        found = known.learn(NAMES, HOME, np.array([1000, 500, 200]), elapsed_s=10, lag_s=30)
    assert found.unseen[0] < 100
    assert found.each[0] * 100 + found.unseen[0] == pytest.approx(1000, rel=0.02)


def test_a_home_without_sessions_is_not_blind_for_long() -> None:
    """After a night without any, a morning's are seen within two minutes."""
    known = Calibration()
    learn(known, HOME, [1000, 500, 0], seconds=36_000)
    each = learn(known, HOME, [1000, 500, 200], seconds=120)
    assert each[2] == pytest.approx(10, rel=0.3)


def test_homes_come_and_go() -> None:
    """Without clients a home stands for nothing; when they are back they count as before."""
    known = Calibration()
    learn(known, HOME, [1000, 1000, 200], seconds=300)
    gone = HOME * np.array([1.0, 0.0, 1.0])
    assert learn(known, gone, [1000, 0, 200], seconds=300)[1] == 0
    assert learn(known, HOME, [1000, 1000, 200])[1] == pytest.approx(20, rel=0.07)


def test_another_set_of_regions_is_learned_anew() -> None:
    """There is no telling what a home was that had other neighbours."""
    known = Calibration()
    learn(known, HOME, [1000, 500, 200], seconds=60)
    each = known.learn(
        ("fra", "nyc"), HOME[:2, :2], np.array([500, 250]), elapsed_s=15, lag_s=30
    ).each
    assert each == pytest.approx([5, 5], rel=0.03)


@given(
    st.lists(st.floats(0, 1e9), min_size=9, max_size=9),
    st.lists(st.one_of(st.floats(0, 1e9), st.just(np.nan)), min_size=3, max_size=3),
    st.floats(0, 1e6),
)
@settings(max_examples=200, deadline=None)
def test_numbers_stay_numbers(flows: list[float], sessions: list[float], elapsed_s: float) -> None:
    """Positive and bounded, whatever is reported."""
    matrix = np.array(flows).reshape(3, 3)
    known = Calibration()
    for _ in range(3):
        each = known.learn(NAMES, matrix, np.array(sessions), elapsed_s=elapsed_s, lag_s=30).each
        assert np.isfinite(each).all()
        assert (each >= 0).all()
        assert (each <= MAX_EACH).all()
