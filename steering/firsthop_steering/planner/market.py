"""What clients do at given prices.

A client pays the price less a relief of up to RELIEF_MS; see `firsthop_steering.decision.charges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision.charges import LEVELS, RELIEF_MS, relief_levels
from firsthop_steering.planner.problem import TransportProblem

SIGMAS = 2.0
"""Standard deviations that are allowed for."""
_TIE_MS = 1e-3
"""Equal scores are drawn apart at edges, by bucket. So they are here, by draws of the same kind."""
_CHUNK = 1 << 17
"""Clients that are looked at together: what fits the processor's cache."""


def reliefs(regions: Sequence[str]) -> Floats:
    """Buckets × regions, uniform in [0, 1): the share of the relief, by the region's name alone."""
    return np.stack([relief_levels(name) / LEVELS for name in regions], axis=1)


def charged_ms(prices: Floats, relief: Floats) -> Floats:
    """What is added to a score: continuous in the price, and nothing where that is 0."""
    return prices - np.minimum(prices, RELIEF_MS) * relief


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """What prices come to: load a region, and the mean cost of a client in ms, without prices."""

    load: Floats
    mean_ms: float
    margin: Floats
    """By how much chance may make a region's load more, because of groups that are divided between
    it and others. They move in steps, for reliefs have LEVELS levels: half a step of the largest.
    And who is behind one cache goes together (`TransportProblem.grain`): SIGMAS standard
    deviations, where
    each cache is for the region with the same chance. The greater of both."""


def outcome(problem: TransportProblem, prices: Floats, relief: Floats) -> MarketOutcome:
    """Where everybody goes; `relief` are the `reliefs` of all buckets."""
    group, region, flow = flows(problem, prices, relief)
    load = np.bincount(region, flow, len(prices)).astype(np.float64)
    some = flow > 0
    spent = float(flow[some] @ problem.cost_ms[group[some], region[some]])
    divided = np.flatnonzero(flow < problem.demand[group])
    to, demand, part = region[divided], problem.demand[group[divided]], flow[divided]
    step = np.zeros(len(prices))
    np.maximum.at(step, to, demand / LEVELS)
    variance = np.bincount(to, part * (1 - part / demand), len(prices)) * problem.grain
    margin = np.maximum(step / 2, SIGMAS * np.sqrt(variance))
    return MarketOutcome(load, spent / max(float(problem.demand.sum()), 1e-12), margin)


def flows(problem: TransportProblem, prices: Floats, relief: Floats) -> tuple[Ints, Ints, Floats]:
    """Groups, regions and the demand that goes from one to the other, flat.

    A region has clients of a group only if, with the whole relief, it is as good as the group's
    best without any.
    """
    high = problem.cost_ms + prices
    low = high - np.minimum(prices, RELIEF_MS)
    contends = low <= high.min(axis=1, keepdims=True)
    contenders = contends.sum(axis=1)
    calm = np.flatnonzero(contenders == 1)
    parts = [(calm, contends[calm].argmax(axis=1), problem.demand[calm])]
    drawn = charged_ms(prices, relief) - _TIE_MS * relief
    charged = np.ascontiguousarray(drawn.T.astype(np.float32))
    at_once = max(_CHUNK // len(relief), 1)
    for count in np.unique(contenders[contenders > 1]).tolist():
        torn = np.flatnonzero(contenders == count)
        for start in range(0, len(torn), at_once):
            rows = torn[start : start + at_once]
            near = np.nonzero(contends[rows])[1].reshape(len(rows), count)
            parts.append(_split(problem, rows, near, charged))
    group, region, flow = (np.concatenate(each) for each in zip(*parts, strict=True))
    return group, region, flow


def _split(
    problem: TransportProblem, rows: Ints, near: Ints, charged: npt.NDArray[np.float32]
) -> tuple[Ints, Ints, Floats]:
    """The flows of groups that choose among the same number of regions, bucket by bucket."""
    own = np.take_along_axis(problem.cost_ms[rows], near, axis=1).astype(np.float32)
    best = own[:, 0, None] + charged[near[:, 0]]
    place = np.zeros(best.shape, np.int8)
    for column in range(1, near.shape[1]):
        score = own[:, column, None] + charged[near[:, column]]
        np.copyto(place, np.int8(column), where=score < best)
        np.minimum(best, score, out=best)
    taken = np.stack([(place == column).mean(axis=1) for column in range(near.shape[1])], axis=1)
    flow = taken * problem.demand[rows, None]
    return np.repeat(rows, near.shape[1]), near.ravel(), flow.ravel()
