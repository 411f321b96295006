"""The health machine of one prober: the table of single checks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.health.verdicts import Liveness, Streak, observe


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
