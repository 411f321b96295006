"""Slow start: the share of its weight that a relay gets after it returns from being down.

The share rises in five levels of equal duration, since caches are cold and the relay may fail
again.
"""

from __future__ import annotations

import math

LEVEL = 20
"""The first level and the step between levels, in per cent."""
STEPS = 100 // LEVEL - 1


def share(returned_at: float | None, now: float, slow_start_s: float) -> int:
    """Percentage of its weight at `now`, 20 to 100; 100 if `returned_at` is None (never down).

    The share is 100 again `slow_start_s` after `returned_at`. Times are seconds on one clock; a
    `now` before the return counts as the time of the return.
    """
    if returned_at is None or slow_start_s <= 0:
        return 100
    passed = max(now - returned_at, 0.0) / slow_start_s
    return 100 if passed >= 1 else LEVEL * (1 + int(passed * STEPS))


def next_step_s(share: int, slow_start_s: float) -> float:
    """Seconds before a share rises; infinite for 100."""
    return slow_start_s / STEPS if share < 100 else math.inf
