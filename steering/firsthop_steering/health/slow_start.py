"""How much of its weight a relay gets that has just come back from being down.

Five levels, each as long as the others: whoever was down is cold, and may fall again.
"""

from __future__ import annotations

import math

LEVEL = 20
"""Per cent between one level and the next, and of the first."""
STEPS = 100 // LEVEL - 1


def share(returned_at: float | None, now: float, slow_start_s: float) -> int:
    """Per cent of its weight, 20 to 100, at `now`; None: it did not return from being down.

    The whole again `slow_start_s` after `returned_at`, at once if that is 0. Seconds on one clock;
    a `now` before the return counts as the return.
    """
    if returned_at is None or slow_start_s <= 0:
        return 100
    passed = max(now - returned_at, 0.0) / slow_start_s
    return 100 if passed >= 1 else LEVEL * (1 + int(passed * STEPS))


def next_step_s(share: int, slow_start_s: float) -> float:
    """Seconds that a share lasts before it rises; infinite for 100."""
    return slow_start_s / STEPS if share < 100 else math.inf
