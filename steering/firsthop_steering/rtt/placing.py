"""Mislocated prefixes: detects wrong locations in the geo data, and finds plausible ones.

A round trip below `2·distance / (200 km/ms)` is faster than light in fibre and proves the location
wrong. A prefix with such a round trip, or with paths that do not fit its location, no longer
inherits from its cell. Its RTTs are then averaged over the cells of other prefixes, weighted by the
likelihood of its measured paths there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.prior import LIGHT_MS_PER_KM, Prior, spread_ms

SLACK_KM = 150.0
"""A cell is a city or region, not a point: a client may be nearer than its cell by this much."""
MISFIT = 3.5
"""Robust standard deviations from its group's measurements above which a location is doubted."""
OWN_CELL = 0.5
"""Prior probability that a doubted location is correct after all."""
_IMPOSSIBLE = 60.0
_CHUNK = 512


def outruns_light(rtt_ms: Floats, distances_km: Floats) -> npt.NDArray[np.bool_]:
    """Mask of the RTTs that are too low for the assumed distances."""
    return rtt_ms < light_ms(distances_km)


def light_ms(distances_km: Floats) -> Floats:
    """Lower bound of the RTT of a client in a cell at this distance."""
    return LIGHT_MS_PER_KM * np.maximum(distances_km - SLACK_KM, 0.0)


def cost(standard: Floats) -> Floats:
    """Negative log-likelihood of a standardised residual with heavy tails: log(1 + z²/4)·5/2
    (Student's t with four degrees of freedom)."""
    return 2.5 * np.log1p(standard**2 / 4)


def relocate(
    rows: tuple[Ints, Ints, Floats, Floats],
    own: Ints,
    candidates: Ints,
    odds: Floats,
    distances_km: Floats,
    prior: Prior,
) -> tuple[Floats, Floats]:
    """Mean and variance of the RTT, prefixes × regions, averaged over likely locations.

    `rows` are the measured paths: prefix (an index of `own`), region, RTT in ms and its variance.
    `own` are the cells that the geo data gives the prefixes. `candidates` are further cells, with
    prior weights `odds`. `distances_km` are cells × regions.
    """
    prefix, region, rtt, variance = rows
    distances = distances_km[candidates]
    expected = prior.expect(distances)
    means, variances = [], []
    for start in range(0, len(own), _CHUNK):
        end = min(start + _CHUNK, len(own))
        here = (prefix >= start) & (prefix < end)
        weight = np.full((end - start, len(candidates)), np.log(odds / odds.sum() * (1 - OWN_CELL)))
        weight = np.column_stack([weight, np.full(end - start, np.log(OWN_CELL))])
        at = np.column_stack(
            [distances[:, region[here]].T, distances_km[own[prefix[here]], region[here]]]
        )
        fit = prior.base_ms[region[here]][:, None] + prior.ms_per_km * at
        off = rtt[here][:, None] - fit
        loss = cost(off / np.sqrt(spread_ms(fit) ** 2 + variance[here][:, None]))
        loss += np.where(outruns_light(rtt[here][:, None], at), _IMPOSSIBLE, 0.0)
        np.subtract.at(weight, prefix[here] - start, loss)
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        mean, squared = _mix(weight, expected, prior.expect(distances_km[own[start:end]]))
        means.append(mean)
        variances.append(squared - mean**2)
    return np.concatenate(means), np.concatenate(variances)


def _mix(weight: Floats, expected: Floats, at_own: Floats) -> tuple[Floats, Floats]:
    """First and second moments over the locations; the last weight is that of the own cell."""
    others, own = weight[:, :-1], weight[:, -1:]
    mean = others @ expected + own * at_own
    squared = others @ (expected**2 + spread_ms(expected) ** 2) + own * (
        at_own**2 + spread_ms(at_own) ** 2
    )
    return mean, squared
