"""When a turn has to wait: penalties, restless checks, probation, steps of the clock."""

from __future__ import annotations

from typing import Literal

import pytest

from firsthop_steering.health.damping import (
    CEILING,
    Damping,
    HeldTurn,
    fails_outright,
    hold,
    turned,
)
from firsthop_steering.health.quorum import AddressView
from firsthop_steering.health.verdicts import Liveness

T0 = 1_000_000.0


def words(*alternations: float, at: float = T0, verdict: Liveness = "up") -> list[AddressView]:
    return [AddressView(verdict, at, alternations=each) for each in alternations]


def waits(
    state: Damping, to: Literal["up", "down"], counted: list[AddressView], *, at: float = T0
) -> HeldTurn | None:
    previous: Liveness = "down" if to == "up" else "up"
    return hold(state, to, previous=previous, counted=counted, fall=3, now=at)


def turns(*ats: float) -> Damping:
    """A relay that was up, and turned at each of these times."""
    state, verdict = Damping(), "up"
    for at in ats:
        before, verdict = verdict, "down" if verdict == "up" else "up"
        state = turned(state, verdict, before, now=T0 + at)  # type: ignore[arg-type]
    return state


def test_a_clean_outage_is_over_at_once() -> None:
    """And so is a second one: two turns down and one up are 2.5 soon after."""
    assert waits(turns(0), "up", words(2, 2, 2)) is None
    assert waits(turns(0, 10, 30), "up", words(2, 2, 2, at=T0 + 50), at=T0 + 50) is None


def test_many_turns_hold_a_relay_down_until_the_penalty_has_decayed() -> None:
    """Three turns in a moment: 3.0, held until below 1.0, 60 · log2(3) s later."""
    state = turns(0, 1, 2)
    calm = words(0, 0, 0, at=T0)
    held = waits(state, "up", calm, at=T0 + 3)
    assert held is not None
    assert held.why == "damped until 13:48:17 UTC"
    assert waits(held.state, "up", calm, at=T0 + 96) is not None
    assert waits(held.state, "up", calm, at=T0 + 97) is None
    assert waits(state, "up", calm, at=T0 + 50) is None, "below 2.5 nothing begins to be held"


def test_a_penalty_has_a_ceiling() -> None:
    state = turns(*range(99))
    assert state.penalty == CEILING
    assert waits(state._replace(held=True), "up", words(0), at=T0 + 98 + 180) is None


def test_restless_checks_hold_a_relay_down_until_they_are_calm() -> None:
    """By the middle vantage: one that lies neither damps a relay nor frees it."""
    assert waits(turns(0), "up", words(0, 0, 99)) is None
    assert waits(turns(0), "up", words(2.4, 2.4, 99)) is None
    held = waits(turns(0), "up", words(0, 2.6, 2.6))
    assert held is not None
    assert "alternate" in held.why
    assert waits(held.state, "up", words(2.1, 2.1, 0)) is not None
    assert waits(held.state, "up", words(1.9, 1.9, 99)) is None


@pytest.mark.parametrize(
    ("verdicts", "failures", "outright"),
    [
        ("DDD", (3, 3, 3), True),
        ("DDD", (3, 3, 2), False),
        ("DDU", (5, 5, 0), False),
        ("DDU", (6, 6, 0), True),
        ("D?U", (9, 9, 9), False),
        ("D", (3,), True),
    ],
)
def test_failing_outright(verdicts: str, failures: tuple[int, ...], outright: bool) -> None:
    """At every vantage the last three, or at more than half of them the last six."""
    names: dict[str, Liveness] = {"U": "up", "D": "down", "?": "unknown"}
    counted = [
        AddressView(names[verdict], T0, failures=each)
        for verdict, each in zip(verdicts, failures, strict=True)
    ]
    assert fails_outright(counted, 3) == outright


def test_a_view_that_just_turned_has_failed_often_enough() -> None:
    """Reports rarer than checks show fewer failures than there were."""
    assert fails_outright([AddressView("down", T0, failures=1, unbroken=True)] * 3, 3)


def test_only_on_probation_and_unsettled_does_a_turn_down_wait() -> None:
    """And never longer than until the relay fails outright."""
    back, restless = turns(-20, 0), words(5, 5, 5, at=T0 + 9, verdict="down")
    assert waits(Damping(), "down", restless, at=T0 + 9) is None
    assert waits(back, "down", words(1, 1, 1, at=T0 + 9), at=T0 + 9) is None
    assert waits(back, "down", restless, at=T0 + 9) is not None
    failing = [each._replace(failures=3) for each in restless]
    assert waits(back, "down", failing, at=T0 + 9) is None
    late = words(5, 5, 5, at=T0 + 601, verdict="down")
    assert waits(back, "down", late, at=T0 + 601) is None


def test_a_first_up_is_no_turn() -> None:
    assert turned(Damping(), "up", "unknown", now=T0) == Damping()
    assert turned(Damping(), "down", "unknown", now=T0).penalty == 1.0


def test_a_clock_set_back_or_ahead() -> None:
    """Back by an hour: the wait begins again, and is no longer for that. Ahead: it is over."""
    state = turns(0, 1, 2)
    held = waits(state, "up", words(0), at=T0 - 3600)
    assert held is not None
    assert waits(held.state, "up", words(0), at=T0 - 3600 + 97) is None
    assert waits(state, "up", words(0), at=T0 + 3600) is None
    assert turned(state, "down", "up", now=T0 + 1e9).penalty == pytest.approx(1.0)
    assert turned(state, "down", "up", now=T0 - 1e9).penalty == pytest.approx(state.penalty + 1)
