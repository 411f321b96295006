"""GC tuning for the prober: rare collections.

A prober's values form no cycles, so reference counting frees them. A full collection visits all
objects of thousands of targets, and delays checks by as long as that takes.
"""

from __future__ import annotations

import gc

# New objects per collection of the young generation, young collections per collection of the
# middle one, and middle ones per full one. Only errors create cycles, a few kilobytes per thousand.
THRESHOLDS = (50_000, 20, 100)


def collect_seldom() -> None:
    """Call once at the start of a process; existing objects are frozen, so never visited again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
