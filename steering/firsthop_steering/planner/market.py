"""The assignment of clients to regions at given prices.

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
"""Standard deviations of random load included in the margin."""
_TIE_MS = 1e-3
"""Scale of the term that breaks ties, at random per bucket as edges do."""
_CHUNK = 1 << 17
"""Clients per batch, so that a batch fits the processor's cache."""


def reliefs(regions: Sequence[str]) -> Floats:
    """Buckets × regions, uniform in [0, 1): the relief as a share of RELIEF_MS."""
    return np.stack([relief_levels(name) / LEVELS for name in regions], axis=1)


def charged_ms(prices: Floats, relief: Floats) -> Floats:
    """The charge in ms, buckets × regions; continuous in the price, and 0 for a price of 0."""
    return prices - np.minimum(prices, RELIEF_MS) * relief


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """The result of prices: load per region, and the mean cost per client in ms without prices."""

    load: Floats
    mean_ms: float
    margin: Floats
    """By how much the load of each region may exceed `load` by chance, because of groups that are
    divided between regions: the larger of half a step of the largest group (reliefs have LEVELS
    levels) and SIGMAS standard deviations (clients behind one cache move together, see
    `TransportProblem.grain`; caches choose independently)."""


def outcome(problem: TransportProblem, prices: Floats, relief: Floats) -> MarketOutcome:
    """Assigns all demand at these prices; `relief` is the result of `reliefs`."""
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
    """Demand from groups to regions as three parallel arrays: group, region, demand.

    A region gets demand of a group only if its cost with the full relief is at most the group's
    lowest cost without relief.
    """
    high = problem.cost_ms + prices
    low = high - np.minimum(prices, RELIEF_MS)
    contends = low <= high.min(axis=1, keepdims=True)
    contenders = contends.sum(axis=1)
    undivided = np.flatnonzero(contenders == 1)
    parts = [(undivided, contends[undivided].argmax(axis=1), problem.demand[undivided])]
    drawn = charged_ms(prices, relief) - _TIE_MS * relief
    charged = np.ascontiguousarray(drawn.T.astype(np.float32))
    at_once = max(_CHUNK // len(relief), 1)
    for count in np.unique(contenders[contenders > 1]).tolist():
        divided_groups = np.flatnonzero(contenders == count)
        for start in range(0, len(divided_groups), at_once):
            rows = divided_groups[start : start + at_once]
            near = np.nonzero(contends[rows])[1].reshape(len(rows), count)
            parts.append(_split(problem, rows, near, charged))
    group, region, flow = (np.concatenate(each) for each in zip(*parts, strict=True))
    return group, region, flow


def _split(
    problem: TransportProblem, rows: Ints, near: Ints, charged: npt.NDArray[np.float32]
) -> tuple[Ints, Ints, Floats]:
    """The flows of groups that each choose among the same number of regions (`near`), by bucket."""
    own = np.take_along_axis(problem.cost_ms[rows], near, axis=1).astype(np.float32)
    best = own[:, 0, None] + charged[near[:, 0]]
    chosen = np.zeros(best.shape, np.int8)
    for column in range(1, near.shape[1]):
        score = own[:, column, None] + charged[near[:, column]]
        np.copyto(chosen, np.int8(column), where=score < best)
        np.minimum(best, score, out=best)
    taken = np.stack([(chosen == column).mean(axis=1) for column in range(near.shape[1])], axis=1)
    flow = taken * problem.demand[rows, None]
    return np.repeat(rows, near.shape[1]), near.ravel(), flow.ravel()
