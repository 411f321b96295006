"""What clients do at given prices, and the prices at which no region is too full.

A client pays the price less a relief of up to RELIEF_MS; see `firsthop_steering.charges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.charges import LEVELS, RELIEF_MS, relief_levels
from firsthop_steering.planner.ascent import Ascent, Look, Market, approach, ascend
from firsthop_steering.planner.problem import Problem
from firsthop_steering.rtt.samples import Floats, Ints

_STRIDE = 8
"""Every how many buckets stand for a group in the search for prices; all of them for a big one."""
_BIG = 0.02
"""Of a region's limit: a group as large as that decides about its load."""
_NEAREST = 6
"""Regions that a group chooses among: within RELIEF_MS of each other there are hardly more."""
_LOOKS = 40
_COARSE, _APPROACH = 16, 40
"""Every how many of the buckets, and how many looks, for a start that is about right."""


def reliefs(regions: Sequence[str]) -> Floats:
    """Buckets × regions, uniform in [0, 1): the share of the relief, by the region's name alone."""
    return np.stack([relief_levels(name) / LEVELS for name in regions], axis=1)


def charged_ms(prices: Floats, relief: Floats) -> Floats:
    """What is added to a score: continuous in the price, and nothing where that is 0."""
    return prices - np.minimum(prices, RELIEF_MS) * relief


@dataclass(frozen=True, slots=True)
class Outcome:
    """What prices come to: load a region, and the mean cost of a client in ms, without prices."""

    load: Floats
    mean_ms: float


def outcome(problem: Problem, prices: Floats, relief: Floats) -> Outcome:
    """Where everybody goes; `relief` are `reliefs`, of all buckets or of some."""
    chosen = _choose(problem, prices, relief, stride=1)
    load = np.bincount(chosen.first, chosen.weight, len(prices)).astype(np.float64)
    spent = float(chosen.weight @ problem.cost_ms[chosen.group, chosen.first])
    return Outcome(load, spent / max(float(problem.demand.sum()), 1e-12))


def balance(problem: Problem, start: Floats, relief: Floats, *, looks: int = _LOOKS) -> Ascent:
    """Prices at which no region is over its limit, with clients as they really choose."""
    return ascend(problem, start, _look(problem, relief, _STRIDE), looks=looks)


def approached(problem: Problem, start: Floats, relief: Floats) -> Floats:
    """Prices that are about right, from any start."""
    return approach(problem, start, _look(problem, relief[::_COARSE], _STRIDE), looks=_APPROACH)


def _look(problem: Problem, relief: Floats, stride: int) -> Look:
    count = len(problem.capacity)

    def look(prices: Floats, width: float) -> Market:
        chosen = _choose(problem, prices, relief, stride=stride)
        near = chosen.gap_ms < width
        flows = np.bincount(
            chosen.first[near] * count + chosen.second[near], chosen.weight[near], count * count
        )
        load = np.bincount(chosen.first, chosen.weight, count).astype(np.float64)
        return Market(load, flows.reshape(count, count).astype(np.float64))

    return look


@dataclass(frozen=True, slots=True)
class _Choices:
    """Rows of clients that choose alike: their group, demand, two best regions and the gap."""

    group: Ints
    weight: Floats
    first: Ints
    second: Ints
    gap_ms: Floats


def _choose(problem: Problem, prices: Floats, relief: Floats, *, stride: int) -> _Choices:
    """What groups choose: as one where no bucket can differ, else by bucket."""
    high = problem.cost_ms + prices
    low = high - np.minimum(prices, RELIEF_MS)
    rows = np.arange(len(low))
    first = high.argmin(axis=1)
    least = high[rows, first]
    masked = low.copy()
    masked[rows, first] = np.inf
    second = masked.argmin(axis=1)
    torn = masked[rows, second] < least
    calm = ~torn
    whole = _Choices(
        rows[calm], problem.demand[calm], first[calm], second[calm],
        (high[rows, second] - least)[calm],
    )  # fmt: skip
    room = np.minimum(problem.limits[first], problem.limits[second])
    big = torn & (problem.demand > _BIG * room)
    small = torn & ~big
    parts = [whole]
    if big.any():
        parts.append(_by_bucket(problem, rows[big], low[big], prices, relief))
    if small.any():
        parts.append(_by_bucket(problem, rows[small], low[small], prices, relief[::stride]))
    return _Choices(
        *(np.concatenate([getattr(each, name) for each in parts]) for name in _Choices.__slots__)
    )


def _by_bucket(
    problem: Problem, torn: Ints, low: Floats, prices: Floats, relief: Floats
) -> _Choices:
    """Groups × buckets, flat."""
    count = min(_NEAREST, low.shape[1])
    near = np.argpartition(low, count - 1, axis=1)[:, :count]
    own = np.take_along_axis(problem.cost_ms[torn], near, axis=1).astype(np.float32)
    charged = charged_ms(prices, relief).T.astype(np.float32)
    shape = (len(torn), len(relief))
    best, next_best = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    place, next_place = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    for column in range(count):
        score = own[:, column, None] + charged[near[:, column]]
        better, runner = score < best, score < next_best
        next_place = np.where(better, place, np.where(runner, column, next_place)).astype(np.int8)
        next_best = np.where(better, best, np.minimum(score, next_best))
        place = np.where(better, column, place).astype(np.int8)
        best = np.where(better, score, best)
    return _Choices(
        np.repeat(torn, shape[1]),
        np.repeat(problem.demand[torn] / shape[1], shape[1]),
        np.take_along_axis(near, place.astype(np.int64), axis=1).ravel(),
        np.take_along_axis(near, next_place.astype(np.int64), axis=1).ravel(),
        (next_best - best).ravel().astype(np.float64),
    )
