"""Is a relay up? From single checks to one prober's view; of other probers it knows nothing.

`observe` is a transition table over (verdict, outcome). `unknown` means that nobody has seen
enough, and is never treated as `down`. Many views become one verdict in `quorum`, `damping` and
`depool`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from firsthop_steering.plan.model import Liveness, Probe

Threshold = Literal["once", "rise", "fall"]


@dataclass(frozen=True, slots=True)
class Streak:
    """One target as one prober sees it: the verdict, and outcomes in a row that contradict it."""

    verdict: Liveness = "unknown"
    against: int = 0


# Two rules. An outcome that agrees with the verdict ends the streak against it (None). One that
# contradicts it counts, and turns the verdict once the threshold is reached. A first success is
# believed at once, because a relay that answers with our key is there; failures never are.
_TRANSITIONS: Mapping[tuple[Liveness, bool], tuple[Liveness, Threshold] | None] = {
    ("unknown", True): ("up", "once"),
    ("unknown", False): ("down", "fall"),
    ("up", True): None,
    ("up", False): ("down", "fall"),
    ("down", True): ("up", "rise"),
    ("down", False): None,
}


def observe(state: Streak, ok: bool, rise: int, fall: int) -> Streak:
    """The streak after one more check; `rise` and `fall` are outcomes in a row, at least 1."""
    transition = _TRANSITIONS[state.verdict, ok]
    if transition is None:
        return Streak(state.verdict)
    turned, threshold = transition
    needed = {"once": 1, "rise": rise, "fall": fall}[threshold]
    if state.against + 1 >= needed:
        return Streak(turned)
    return Streak(state.verdict, state.against + 1)


def next_change_s(verdict: Liveness, probe: Probe) -> float:
    """Seconds until checks can turn a relay between up and down at the earliest.

    The outcomes in a row that this takes, times the time from one check to the next; unknown
    counts as up, as it does for answers. An answer that is kept no longer has not been overtaken
    by what was measured when it was given (the rule is that of gdnsd's monitors). A streak that
    has begun is not known here, so the first failure may be that much older.
    """
    return (probe.rise if verdict == "down" else probe.fall) * probe.interval_s
