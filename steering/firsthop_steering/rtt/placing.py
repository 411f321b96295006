"""Clients that are not where the geo data says, and where they may be instead.

No packet outruns light: a round trip below `2·distance / (200 km/ms)` proves the location wrong.
A prefix caught so, or by paths that fit nowhere near its place, stops inheriting from its cell; it
may then be at any place of the others, in proportion to how well its measured paths fit there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.rtt.prior import LIGHT_MS_PER_KM, Prior, spread_ms

SLACK_KM = 150.0
"""A cell is a city or a region, not a point: so much nearer the client may really be."""
MISFIT = 3.5
"""Robust standard deviations off what its group measures, from which a place is doubted."""
OWN_PLACE = 0.5
"""Prior odds that a doubted place is right after all."""
_IMPOSSIBLE = 60.0
_CHUNK = 512


def outruns_light(rtt_ms: Floats, distances_km: Floats) -> npt.NDArray[np.bool_]:
    """Which samples are too fast for the place that their clients are said to be at."""
    return rtt_ms < light_ms(distances_km)


def light_ms(distances_km: Floats) -> Floats:
    """What no round trip is below, for a client of that cell."""
    return LIGHT_MS_PER_KM * np.maximum(distances_km - SLACK_KM, 0.0)


def cost(standard: Floats) -> Floats:
    """Minus log-likelihood of a standardised residual, with a heavy tail: log(1 + z²/4)·5/2
    (Student's t with four degrees of freedom)."""
    return 2.5 * np.log1p(standard**2 / 4)


def place_anew(
    rows: tuple[Ints, Ints, Floats, Floats],
    own: Ints,
    candidates: Ints,
    odds: Floats,
    distances_km: Floats,
    prior: Prior,
) -> tuple[Floats, Floats]:
    """Mean and variance of the RTT to every region, (prefixes × regions), by likely places.

    `rows` are the measured paths: prefix (0…, by `own`), region, RTT and its variance in ms;
    `own` the cell that the geo data gives each prefix; `candidates` cells and their `odds`.
    """
    prefix, region, rtt, variance = rows
    places = distances_km[candidates]
    expected = prior.expect(places)
    means, variances = [], []
    for start in range(0, len(own), _CHUNK):
        end = min(start + _CHUNK, len(own))
        here = (prefix >= start) & (prefix < end)
        weight = np.full(
            (end - start, len(candidates)), np.log(odds / odds.sum() * (1 - OWN_PLACE))
        )
        weight = np.column_stack([weight, np.full(end - start, np.log(OWN_PLACE))])
        at = np.column_stack(
            [places[:, region[here]].T, distances_km[own[prefix[here]], region[here]]]
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
    """First and second moment over the places; the last weight is that of a prefix's own."""
    others, own = weight[:, :-1], weight[:, -1:]
    mean = others @ expected + own * at_own
    squared = others @ (expected**2 + spread_ms(expected) ** 2) + own * (
        at_own**2 + spread_ms(at_own) ** 2
    )
    return mean, squared
