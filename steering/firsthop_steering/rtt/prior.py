"""The prior RTT `a·distance + b_region`, fitted to measurements.

Without measurements it is the prior of `firsthop_steering.rtt.geography`, so that an edge without
samples ranks regions by distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.geography import PRIOR_BASE_MS, PRIOR_MS_PER_KM

LIGHT_MS_PER_KM = 2 / 200
"""Round trip at 200 km per millisecond, the speed of light in fibre."""
MAX_MS_PER_KM = 0.05
HUBER = 1.345
"""Huber's constant: 95 % efficient under normal errors."""
SPREAD_BASE_MS, SPREAD_SHARE = 3.0, 0.15
"""Expected deviation of a path from the prior; it grows with the path's RTT."""
_SLOPE_PATHS, _BASE_PATHS = 30.0, 10.0
"""Weights of the initial slope and bases, in measured paths."""
_MEAN_WEIGHT = 0.1
"""Typical weight of a measured path: (base spread / its own spread) squared."""
_REACH_KM = 2000.0
"""Typical distance, which scales the ridge penalty of the slope."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Prior:
    """The slope in ms per km, and one base per region in ms."""

    ms_per_km: float
    base_ms: Floats

    def expect(self, distances_km: Floats, regions: Ints | slice = slice(None)) -> Floats:
        """Expected RTT in ms; `regions` holds the region of each distance (default: last axis)."""
        expected: Floats = self.base_ms[regions] + self.ms_per_km * distances_km
        return expected


def untaught(regions: int) -> Prior:
    """The prior without measurements."""
    return Prior(PRIOR_MS_PER_KM, np.full(regions, PRIOR_BASE_MS))


def spread_ms(expected_ms: Floats) -> Floats:
    """The standard deviation of a path whose prior RTT is `expected_ms`."""
    return SPREAD_BASE_MS + SPREAD_SHARE * expected_ms


def huber_weights(standard: Floats, constant: float = HUBER) -> Floats:
    """Huber's weights: 1 for small standardised residuals, proportional to 1/|z| beyond."""
    return np.minimum(1.0, constant / np.maximum(np.abs(standard), 1e-9))


def fit_prior(distances_km: Floats, regions: Ints, rtt_ms: Floats, *, count: int) -> Prior:
    """Robust ridge regression by iterative reweighting; one row per measured path.

    `count` is the number of regions. The ridge pulls towards the untaught prior. The slope is
    limited to LIGHT_MS_PER_KM and MAX_MS_PER_KM.
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
    """Solves for the slope with the bases eliminated; the bases are weighted mean residuals."""
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
