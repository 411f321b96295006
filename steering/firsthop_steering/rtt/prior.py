"""The geographic prior `a·distance + b_region`, fitted to what was measured.

Where nothing was, it is the prior of `firsthop_steering.rtt.geography`: so an edge without samples
orders regions by distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.geography import PRIOR_BASE_MS, PRIOR_MS_PER_KM

LIGHT_MS_PER_KM = 2 / 200
"""There and back at 200 km a millisecond: the speed of light in glass."""
MAX_MS_PER_KM = 0.05
HUBER = 1.345
"""Huber's constant: 95 % efficient under normal errors."""
SPREAD_BASE_MS, SPREAD_SHARE = 3.0, 0.15
"""Deviation of a path from the prior: what is expected of it grows with its length."""
_SLOPE_PATHS, _BASE_PATHS = 30.0, 10.0
"""Measured paths that a region's base, and the slope, need to be believed half."""
_MEAN_WEIGHT = 0.1
"""What a measured path weighs on the average: (base spread / its own spread) squared."""
_REACH_KM = 2000.0
"""A usual distance, which says what a slope does."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Prior:
    """Milliseconds; one base a region."""

    ms_per_km: float
    base_ms: Floats

    def expect(self, distances_km: Floats, regions: Ints | slice = slice(None)) -> Floats:
        """The RTT to expect; `regions` names the region of each distance (default: last axis)."""
        expected: Floats = self.base_ms[regions] + self.ms_per_km * distances_km
        return expected


def untaught(regions: int) -> Prior:
    """What holds before anything was measured."""
    return Prior(PRIOR_MS_PER_KM, np.full(regions, PRIOR_BASE_MS))


def spread_ms(expected_ms: Floats) -> Floats:
    """The deviation of a path whose prior is `expected_ms`."""
    return SPREAD_BASE_MS + SPREAD_SHARE * expected_ms


def huber_weights(standard: Floats, constant: float = HUBER) -> Floats:
    """1 for small standardised residuals, falling as 1/|z| beyond the constant."""
    return np.minimum(1.0, constant / np.maximum(np.abs(standard), 1e-9))


def fit_prior(distances_km: Floats, regions: Ints, rtt_ms: Floats, *, count: int) -> Prior:
    """Robust ridge regression by reweighting: one row a measured path, `count` regions.

    The ridge draws to the untaught prior. The slope stays between light in glass and five times
    that.
    """
    prior = untaught(count)
    start = prior
    for _ in range(_ROUNDS if len(rtt_ms) else 0):
        expected = prior.expect(distances_km, regions)
        spread = spread_ms(expected)
        off = (rtt_ms - expected) / spread
        scale = max(1.0, 1.4826 * float(np.median(np.abs(off))))
        weights = huber_weights(off / scale) * (SPREAD_BASE_MS / spread) ** 2
        prior = _solve(distances_km, regions, rtt_ms, weights, start)
    return prior


def _solve(distances: Floats, regions: Ints, rtt: Floats, weights: Floats, start: Prior) -> Prior:
    """The slope with all bases eliminated (they are the weighted means of what is left)."""
    count = len(start.base_ms)
    tie = _BASE_PATHS * _MEAN_WEIGHT
    mass = np.bincount(regions, weights, count) + tie
    pull = tie * start.base_ms
    mean_rtt = (np.bincount(regions, weights * rtt, count) + pull) / mass
    mean_distance = np.bincount(regions, weights * distances, count) / mass
    x, y = distances - mean_distance[regions], rtt - mean_rtt[regions]
    ridge = _SLOPE_PATHS * _MEAN_WEIGHT * _REACH_KM**2
    pulled = tie * float((mean_distance * (mean_rtt - start.base_ms)).sum())
    along = float((weights * x * y).sum()) + pulled + ridge * start.ms_per_km
    across = float((weights * x * x).sum()) + tie * float((mean_distance**2).sum()) + ridge
    slope = along / across
    slope = min(max(slope, LIGHT_MS_PER_KM), MAX_MS_PER_KM)
    return Prior(slope, mean_rtt - slope * mean_distance)
