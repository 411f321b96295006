"""Does a relay flap? A penalty for every turn of its verdict, and how restless its checks are.

Knows when a turn has to wait, not who voted. In the manner of RFC 2439, gentler: only turning up
waits for a penalty to decay, and whoever fails outright is down at once.
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
"""So nobody waits longer than log2(CEILING / REUSE_BELOW) = 3 half-lives after its last turn."""
RESTLESS_ABOVE = 2.5
"""Alternations. A clean outage has two, one at each end."""
CALM_BELOW = 2.0
UNSETTLED_ABOVE = 1.25
"""More than the one alternation that an outage brings by itself."""
PROBATION_S = 600.0


class Damping(NamedTuple):
    """One relay's past turns."""

    penalty: float = 0.0
    at: float = 0.0
    """When `penalty` was what it says."""
    held: bool = False
    """Turning up waits, until below the lower levels."""
    returned_at: float | None = None
    """When it last turned from down to up."""


def turned(state: Damping, verdict: Liveness, previous: Liveness, *, now: float) -> Damping:
    """The state after a turn. A first `up` is no turn: `unknown` counted as up already."""
    if verdict == "up" and previous == "unknown":
        return state
    penalty = decayed(state.penalty, HALF_LIFE_S, elapsed_s(state.at, now)) + TURN_PENALTY
    returned_at = now if verdict == "up" else state.returned_at
    return Damping(min(penalty, CEILING), now, False, returned_at)


class HeldTurn(NamedTuple):
    """A turn that has to wait, and why."""

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
    """Whether the turn from `previous` to `verdict` has to wait; None: it may be made now.

    Turning up waits for a relay that has turned often or whose checks alternate. Turning down
    waits in one case: a relay on probation, back from being down for less than PROBATION_S and
    not settled since, has to fail outright.
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
    """After a clock was set back nobody waits until it has caught up."""
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
    """Recent alternations between passed and failed checks, at the middle vantage."""
    return lower_median(
        decayed(word.alternations, ALTERNATION_HALF_LIFE_S, elapsed_s(word.checked_at, now))
        for word in counted
    )


def fails_outright(counted: Sequence[AddressView], fall: int) -> bool:
    """At every vantage the last `fall` checks failed, or at more than half the last 2 · `fall`."""
    down = [word for word in counted if word.verdict == "down"]
    if len(down) == len(counted) and all(w.unbroken or w.failures >= fall for w in down):
        return True
    return 2 * sum(word.failures >= 2 * fall for word in down) > len(counted)
