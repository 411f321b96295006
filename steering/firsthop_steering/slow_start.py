"""How much of its weight a relay has after it was down: it is given back in steps. Pure."""

from __future__ import annotations

import math

STEPS = 5
"""So a return makes five statuses, and five times tables are compiled, however long it takes."""


def share(back_for_s: float, slow_start_s: float) -> int:
    """Per cent of its weight for a relay that is back for `back_for_s` seconds.

    A fifth at once, the whole after `slow_start_s`; with 0 the whole at once. A clock that was set
    back starts again from a fifth.
    """
    if slow_start_s <= 0 or back_for_s >= slow_start_s:
        return 100
    step = math.floor(max(0.0, back_for_s) * (STEPS - 1) / slow_start_s)
    return (step + 1) * 100 // STEPS


def step_s(slow_start_s: float) -> float:
    """Seconds from one step to the next."""
    return slow_start_s / (STEPS - 1)
