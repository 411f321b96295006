"""Prices where no planner is heard: each follows its own region's load (dual ascent).

The slope of the dual is a region's load less its limit (see `smooth`), and load is all that a
cut-off edge can know of: so it climbs, one step a report, without demand, round trips or a
solution. It needs no agreement: edges that hear the same reports come to the same prices.
"""

from __future__ import annotations

import numpy as np

from firsthop_steering.planner.problem import MOST_PRICE_MS
from firsthop_steering.rtt.samples import Floats

FULL, LOOSE = 0.90, 0.70
"""Utilisations above which a price rises and below which it falls: between them it rests, for load
is seen late and single resolvers are large."""
RISE_MS, FALL_MS = 10.0, 2.0
"""Within a TTL, for a region that is as much beyond as all its capacity. Caches follow one TTL
later, so a step must not move more than what is wrong."""
MOST_MS = 10.0
"""The greatest step within a TTL."""


def adjusted(prices: Floats, utilisation: Floats, *, elapsed_s: float, ttl_s: float) -> Floats:
    """The next prices in ms, a region each; `utilisation` is reported load over capacity, NaN where
    nothing is reported: that price stays. `elapsed_s` since the last step counts up to one TTL."""
    share = min(elapsed_s / max(ttl_s, 1e-9), 1.0)
    known = np.nan_to_num(utilisation, nan=(FULL + LOOSE) / 2)
    step = RISE_MS * np.maximum(known - FULL, 0.0) - FALL_MS * np.maximum(LOOSE - known, 0.0)
    return np.clip(prices + share * np.clip(step, -MOST_MS, MOST_MS), 0.0, MOST_PRICE_MS)
