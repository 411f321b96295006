"""The health machine: the table of single checks, and the majority of probers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.reports import VantageView
from firsthop_steering.verdicts import Liveness, Streak, Verdict, combine, observe

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def after(outcomes: str, *, rise: int = 2, fall: int = 3) -> Streak:
    """`+` is a success, `-` a failure."""
    start = Streak()
    for outcome in outcomes:
        start = observe(start, outcome == "+", rise, fall)
    return start


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ("", "unknown"),
        ("+", "up"),
        ("-", "unknown"),
        ("--", "unknown"),
        ("---", "down"),
        ("--+", "up"),
        ("+--", "up"),
        ("+--+--", "up"),
        ("+---", "down"),
        ("---+", "down"),
        ("---+-+", "down"),
        ("---++", "up"),
        ("---+++", "up"),
    ],
)
def test_rise_and_fall(outcomes: str, verdict: Liveness) -> None:
    """Only outcomes in a row turn a verdict; a first success is believed at once."""
    assert after(outcomes).verdict == verdict


def test_one_of_each_turns_at_once() -> None:
    assert after("-", rise=1, fall=1) == Streak("down")
    assert after("-+", rise=1, fall=1) == Streak("up")


@settings(deadline=None)
@given(st.text(alphabet="+-", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_the_machine_obeys_its_two_rules(outcomes: str, rise: int, fall: int) -> None:
    """A streak stays below its threshold, and a verdict turns only behind a full streak."""
    state = Streak()
    for at, outcome in enumerate(outcomes, 1):
        before, state = state, observe(state, outcome == "+", rise, fall)
        assert 0 <= state.against < max(rise, fall)
        if state.verdict != before.verdict:
            needed = fall if state.verdict == "down" else rise if before.verdict == "down" else 1
            assert outcomes[:at].endswith(("-" if state.verdict == "down" else "+") * needed)
        assert state.verdict != "unknown" or before.verdict == "unknown"


@pytest.mark.parametrize("verdict", ["up", "down", "unknown"])
@pytest.mark.parametrize("ok", [True, False])
def test_observe_changes_nothing_in_place(verdict: Liveness, ok: bool) -> None:
    start = Streak(verdict)
    observe(start, ok, 2, 2)
    assert start == Streak(verdict)


def view(verdict: Liveness, age_s: float = 0.0, reason: str = "") -> VantageView:
    at = NOW - timedelta(seconds=age_s)
    return VantageView(relay="fra-1", verdict=verdict, since=at, checked_at=at, reason=reason)


def judged(views: dict[str, VantageView], previous: Liveness = "unknown") -> Verdict:
    return combine(views, now=NOW, previous=previous, stale_after_s=10)


@pytest.mark.parametrize(
    ("verdicts", "previous", "expected"),
    [
        (["up"], "down", "up"),
        (["down"], "up", "down"),
        (["up", "up", "down"], "down", "up"),
        (["down", "up", "down"], "up", "down"),
        (["up", "down"], "up", "up"),
        (["up", "down"], "down", "down"),
        (["up", "down"], "unknown", "unknown"),
        (["unknown"], "up", "up"),
        (["unknown"], "unknown", "unknown"),
        (["unknown", "unknown", "down"], "up", "down"),
        (["unknown", "unknown", "up"], "down", "up"),
        ([], "up", "up"),
        ([], "down", "down"),
    ],
)
def test_the_majority_decides(
    verdicts: list[Liveness], previous: Liveness, expected: Liveness
) -> None:
    """Ties and silence keep what was; `unknown` does not vote."""
    views = {f"p{i}": view(verdict) for i, verdict in enumerate(verdicts)}
    assert judged(views, previous).verdict == expected


@pytest.mark.parametrize("age_s", [10.001, -10.001, 3600, -3600])
def test_stale_views_do_not_vote(age_s: float) -> None:
    """Neither an old one, nor one from a clock that runs further ahead than that."""
    assert judged({"a": view("down", age_s)}, "up").verdict == "up"
    assert judged({"a": view("down", age_s), "b": view("up")}, "down").verdict == "up"


@pytest.mark.parametrize("age_s", [10, -10, 0])
def test_views_within_the_bound_vote(age_s: float) -> None:
    assert judged({"a": view("down", age_s)}, "up").verdict == "down"


def test_reasons_say_what_happened() -> None:
    assert judged({}, "up").reason == "no prober has reported; stays up"
    assert judged({"a": view("up", 60)}, "down").reason == "all 1 views are stale; stays down"
    assert judged({"a": view("unknown")}).reason == "undecided at all 1 probers; stays unknown"
    both = {"a": view("up"), "b": view("down")}
    assert judged(both, "up").reason == "up at 1 of 2 probers; stays up"
    assert judged({"a": view("up")}).reason == "up at 1 of 1 probers"
    down = {"b": view("down", reason="no answer"), "a": view("down", reason="refused")}
    assert judged(down).reason == "down at 2 of 2 probers (a: refused, b: no answer)"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefg"),
        st.builds(
            view,
            st.sampled_from(["up", "down", "unknown"]),
            st.floats(-30, 30),
            st.text(max_size=9),
        ),
    ),
    st.sampled_from(["up", "down", "unknown"]),
)
def test_no_vote_no_change(views: dict[str, VantageView], previous: Liveness) -> None:
    """A verdict other than the previous one has a fresh majority of its own kind behind it."""
    verdict = judged(views, previous)
    assert verdict == judged(dict(reversed(views.items())), previous)
    if verdict.verdict != previous:
        fresh = [
            v.verdict for v in views.values() if abs((NOW - v.checked_at).total_seconds()) <= 10
        ]
        other: Liveness = "down" if verdict.verdict == "up" else "up"
        assert fresh.count(verdict.verdict) > fresh.count(other)
