"""What the planner's prices come to, for bench/steering.py: overload, N−1, mean RTT and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bench.internet import Floats, World

from firsthop_steering.planner.highs import NoSolverError
from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.plan import plan_prices, prices_without
from firsthop_steering.planner.problem import Problem


@dataclass(frozen=True, slots=True)
class Planned:
    """Shares above capacity (nearest only, by prices, worst single loss), RTTs, CPU seconds."""

    nearest_over: float
    over: float
    loss_over: float
    loss_at_once: float
    """When a region dies and its clients walk on under prices that do not know of it yet."""
    nearest_ms: float
    mean_ms: float
    method: str
    cpu_s: float
    again_s: float
    """From those prices, after every group's demand has changed by 10 %."""
    loss_s: float
    worst: float
    """Highest utilisation, losses included."""


def _no_solver(problem: Problem, start: Floats) -> Floats:
    raise NoSolverError("left out")


def plan_world(
    world: World, names: Sequence[str], *, times: float, seed: int, losses: int, solver: bool = True
) -> Planned:
    """Lognormal demand (sigma 1) over the prefixes; capacity is `times` all of it in total.

    A region's share of the capacity is what nearest-only brings it, times a lognormal factor
    (sigma 0.25), at least a tenth of the mean and at most 6 % of all: planned by hand, wrong by a
    quarter, and such that the rest can bear a loss.
    """
    draw = np.random.default_rng(seed)
    count = len(names)
    demand = draw.lognormal(0, 1, len(world.rtt_ms))
    nearest = np.bincount(world.rtt_ms.argmin(axis=1), demand, count)
    capacity = np.maximum(nearest * draw.lognormal(0, 0.25, count), demand.sum() / count / 10)
    for _ in range(30):
        capacity = np.minimum(capacity / capacity.sum(), 0.06)
    capacity *= times * demand.sum() / capacity.sum()
    problem = Problem(world.rtt_ms, demand, capacity)
    relief = reliefs(names)
    options = {} if solver else {"solver": _no_solver}
    began = time.process_time()
    planned = plan_prices(problem, names, np.zeros(count), **options)
    cpu_s = time.process_time() - began
    shaken = Problem(world.rtt_ms, demand * draw.lognormal(0, 0.1, len(demand)), capacity)
    began = time.process_time()
    plan_prices(shaken, names, planned.prices, **options)
    again_s = time.process_time() - began
    found = outcome(problem, planned.prices, relief)
    free = outcome(problem, np.zeros(count), relief)
    used = [float((found.load / capacity).max())]
    overs, at_once, spent = [0.0], [0.0], [0.0]
    for lost in np.argsort(-found.load)[:losses].tolist():
        rest = problem.without(lost)
        began = time.process_time()
        prices = prices_without(problem, names, planned.prices, lost, **options).prices
        spent.append(time.process_time() - began)
        load = outcome(rest, prices, relief).load
        overs.append(_over(load, rest.capacity))
        at_once.append(_over(outcome(rest, planned.prices, relief).load, rest.capacity))
        used.append(float((load / np.maximum(rest.capacity, 1e-9))[rest.capacity > 0].max()))
    return Planned(
        _over(free.load, capacity), _over(found.load, capacity), max(overs), max(at_once),
        free.mean_ms, found.mean_ms, planned.method, cpu_s, again_s, max(spent), max(used),
    )  # fmt: skip


def _over(load: Floats, capacity: Floats) -> float:
    """Share of the demand above capacity."""
    return float(np.maximum(load - capacity, 0).sum() / load.sum())
