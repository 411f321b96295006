"""Flap damping: a penalty per change of verdict, and a limit on checks that alternate.

Decides whether a change has to wait, not how the verdict was formed. Modelled on RFC 2439, but
milder: only a change to up waits for a penalty to decay, and a relay whose checks all fail is down
at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from firsthop_steering.health.quorum import (
    ALTERNATION_HALF_LIFE_S,
    AddressView,
    decayed,
    elapsed_s,
    lower_median,
)
from firsthop_steering.plan.model import Liveness

TURN_PENALTY = 1.0
HALF_LIFE_S = 60.0
SUPPRESS_ABOVE = 2.5
REUSE_BELOW = 1.0
CEILING = 8.0
"""Limits the wait after the last change to log2(CEILING / REUSE_BELOW) = 3 half-lives."""
RESTLESS_ABOVE = 2.5
"""Alternations of checks. A clean outage has two, one at each end."""
CALM_BELOW = 2.0
UNSETTLED_ABOVE = 1.25
"""Alternations of checks; an outage begins with one."""
PROBATION_S = 600.0


class Damping(NamedTuple):
    """The damping state of one relay."""

    penalty: float = 0.0
    at: float = 0.0
    """Time as of which `penalty` is given."""
    held: bool = False
    """A change to up is suppressed until the values are below REUSE_BELOW and CALM_BELOW."""
    returned_at: float | None = None
    """When it last changed from down to up."""


def turned(state: Damping, verdict: Liveness, previous: Liveness, *, now: float) -> Damping:
    """The state after a change of verdict; unknown to up is no change, as both count as up."""
    if verdict == "up" and previous == "unknown":
        return state
    penalty = decayed(state.penalty, HALF_LIFE_S, elapsed_s(state.at, now)) + TURN_PENALTY
    returned_at = now if verdict == "up" else state.returned_at
    return Damping(min(penalty, CEILING), now, False, returned_at)


class HeldTurn(NamedTuple):
    """A change of verdict that has to wait, and why."""

    state: Damping
    why: str


def hold(
    state: Damping,
    verdict: Liveness,
    *,
    previous: Liveness,
    counted: Sequence[AddressView],
    fall: int,
    now: float,
) -> HeldTurn | None:
    """Why the change from `previous` to `verdict` has to wait; None if it need not wait.

    A change to up waits if the verdict changed often or checks alternate. A change to down waits in
    one case: a relay that returned less than PROBATION_S ago and whose checks alternate must fail
    outright (`fails_outright`).
    """
    if verdict == "up" and previous == "down":
        return _hold_up(_not_ahead(state, now), counted, now)
    unproven = (
        verdict == "down"
        and previous == "up"
        and _on_probation(state, now)
        and restlessness(counted, now) > UNSETTLED_ABOVE
        and not fails_outright(counted, fall)
    )
    return HeldTurn(state, "on probation until it fails outright") if unproven else None


def _not_ahead(state: Damping, now: float) -> Damping:
    """Limits the state's time to `now`, in case the clock was set back."""
    return state._replace(at=now) if state.at > now else state


def _hold_up(state: Damping, counted: Sequence[AddressView], now: float) -> HeldTurn | None:
    penalty = decayed(state.penalty, HALF_LIFE_S, elapsed_s(state.at, now))
    level = restlessness(counted, now)
    if penalty > REUSE_BELOW and (state.held or penalty > SUPPRESS_ABOVE):
        wait = HALF_LIFE_S * math.log2(state.penalty / REUSE_BELOW)
        until = datetime.fromtimestamp(math.ceil(state.at + wait), UTC)
        return HeldTurn(state._replace(held=True), f"damped until {until:%H:%M:%S} UTC")
    if level >= CALM_BELOW and (state.held or level > RESTLESS_ABOVE):
        return HeldTurn(state._replace(held=True), "damped until its checks cease to alternate")
    return None


def _on_probation(state: Damping, now: float) -> bool:
    return state.returned_at is not None and elapsed_s(state.returned_at, now) < PROBATION_S


def restlessness(counted: Sequence[AddressView], now: float) -> float:
    """Recent alternations between passed and failed checks: the lower median over vantages."""
    return lower_median(
        decayed(view.alternations, ALTERNATION_HALF_LIFE_S, elapsed_s(view.checked_at, now))
        for view in counted
    )


def fails_outright(counted: Sequence[AddressView], fall: int) -> bool:
    """Whether the last `fall` checks failed at every vantage, or the last 2 · `fall` at most of
    them."""
    down = [view for view in counted if view.verdict == "down"]
    if len(down) == len(counted) and all(w.unbroken or w.failures >= fall for w in down):
        return True
    return 2 * sum(view.failures >= 2 * fall for view in down) > len(counted)
