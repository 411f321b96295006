"""GC tuning for the prober: rare collections.

A prober's values form no cycles, so reference counting frees them. A full collection visits all
objects of thousands of targets, and delays checks by as long as that takes.
"""

from __future__ import annotations

import gc

# New objects until the youngest are looked at, rounds of those until the middle ones are, and
# rounds of those until all are. Cycles come from errors only, a few kilobytes a thousand.
THRESHOLDS = (50_000, 20, 100)


def collect_seldom() -> None:
    """Call once at the start of a process; existing objects are frozen, so never visited again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
