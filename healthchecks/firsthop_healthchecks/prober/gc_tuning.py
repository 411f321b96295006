"""When Python looks for garbage: seldom, since what a prober drops is free at once.

A prober's values form no cycles, so reference counts free them. The collector's full rounds walk
everything that thousands of targets hold, and checks start late by as much as that takes.
"""

from __future__ import annotations

import gc

# New objects until the youngest are looked at, rounds of those until the middle ones are, and
# rounds of those until all are. Cycles come from errors only, a few kilobytes a thousand.
THRESHOLDS = (50_000, 20, 100)


def collect_seldom() -> None:
    """Once at the start of a process: what there is stays, and is never walked again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
