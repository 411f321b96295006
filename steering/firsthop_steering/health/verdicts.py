"""One prober's verdict on a target, from single checks, by rise and fall.

`observe` is a transition table over (verdict, outcome). `unknown` means too few checks, and is
never treated as `down`. `quorum`, `damping` and `depool` combine the views of many probers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from firsthop_steering.plan.model import Liveness, Probe

Threshold = Literal["once", "rise", "fall"]


@dataclass(frozen=True, slots=True)
class Streak:
    """One prober's state of a target: the verdict, and consecutive outcomes that contradict it."""

    verdict: Liveness = "unknown"
    against: int = 0


# An outcome that agrees with the verdict resets the streak (None). An outcome that contradicts it
# extends the streak, and changes the verdict at the threshold. A first success counts at once,
# because a relay that answers with our key exists; a first failure does not.
_TRANSITIONS: Mapping[tuple[Liveness, bool], tuple[Liveness, Threshold] | None] = {
    ("unknown", True): ("up", "once"),
    ("unknown", False): ("down", "fall"),
    ("up", True): None,
    ("up", False): ("down", "fall"),
    ("down", True): ("up", "rise"),
    ("down", False): None,
}


def observe(state: Streak, ok: bool, rise: int, fall: int) -> Streak:
    """The state after one more check; `rise` and `fall` are consecutive outcomes, at least 1."""
    transition = _TRANSITIONS[state.verdict, ok]
    if transition is None:
        return Streak(state.verdict)
    turned, threshold = transition
    needed = {"once": 1, "rise": rise, "fall": fall}[threshold]
    if state.against + 1 >= needed:
        return Streak(turned)
    return Streak(state.verdict, state.against + 1)


def next_change_s(verdict: Liveness, probe: Probe) -> float:
    """Earliest time in seconds at which checks can change a relay between up and down.

    This is the number of consecutive outcomes needed times the interval between checks; unknown
    counts as up, as in answers. An answer cached for no longer than this cannot outlive a change of
    health that had not begun when it was given (the rule of gdnsd's monitors). A streak that has
    already begun is not known here, so a change may come earlier by its length.
    """
    return (probe.rise if verdict == "down" else probe.fall) * probe.interval_s
