"""Results of the planner's prices, for bench/steering.py: overload, N−1, mean RTT and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from bench.internet import Floats, World

from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.plan import plan_prices, prices_without
from firsthop_steering.planner.problem import TransportProblem
from support.optimum import optimum

SPARE = 0.02
"""Spare capacity of the others when the largest region is lost, relative to all demand."""

Build = Literal["as needed", "misjudged"]


@dataclass(frozen=True, slots=True)
class Planned:
    """Shares of the demand above capacity, mean RTTs, CPU seconds."""

    nearest_over: float
    over: float
    loss_over: float
    """Worst case of all single losses."""
    loss_at_once: float
    """After a region fails, while the prices do not reflect it yet."""
    fullest: float
    """Highest utilisation, including losses."""
    nearest_ms: float
    optimum_ms: float
    """Of the linear programme's optimum, within the same limits."""
    mean_ms: float
    cold_s: float
    again_s: float
    """Starting from those prices, after a change of every group's demand by 10 %."""
    losses_s: float
    """For the loss of each region in turn."""


def capacity_of(nearest: Floats, times: float, build: Build, draw: np.random.Generator) -> Floats:
    """Capacity of each region: `times` all demand in total, and at least a tenth of the mean each.

    *As needed*: in proportion to the demand nearest to the region, limited so that the other
    regions can carry all demand plus SPARE; the excess is distributed to the others.
    *Misjudged*: that demand times a lognormal factor (sigma 0.25), and at most 6 % of all demand,
    far below the need of the largest region.
    """
    count, total = len(nearest), float(nearest.sum())
    if build == "as needed":
        wanted, cap = nearest, 1 - (1 + SPARE) / times
    else:
        wanted, cap = nearest * draw.lognormal(0, 0.25, count), 0.06
    wanted = np.maximum(wanted, total / count / 10)
    for _ in range(100):
        wanted = np.minimum(wanted / wanted.sum(), cap)
    return wanted * times * total / wanted.sum()


def plan_world(
    world: World, names: Sequence[str], *, times: float, build: Build, seed: int
) -> Planned:
    """Runs the planner: lognormal demand (sigma 1) per prefix, one group each, and all losses."""
    draw = np.random.default_rng(seed)
    count = len(names)
    demand = draw.lognormal(0, 1, len(world.rtt_ms))
    nearest = np.bincount(world.rtt_ms.argmin(axis=1), demand, count).astype(np.float64)
    capacity = capacity_of(nearest, times, build, draw)
    problem = TransportProblem(world.rtt_ms, demand, capacity)
    relief = reliefs(names)
    began = time.process_time()
    prices = plan_prices(problem, names, np.zeros(count)).prices
    cold_s = time.process_time() - began
    shaken = TransportProblem(world.rtt_ms, demand * draw.lognormal(0, 0.1, len(demand)), capacity)
    began = time.process_time()
    plan_prices(shaken, names, prices)
    again_s = time.process_time() - began
    began = time.process_time()
    ready = [prices_without(problem, names, prices, lost).prices for lost in range(count)]
    losses_s = time.process_time() - began
    found, free = outcome(problem, prices, relief), outcome(problem, np.zeros(count), relief)
    overs, at_once, used = [], [], [float((found.load / capacity).max())]
    for lost, spare in enumerate(ready):
        rest = problem.without(lost)
        load = outcome(rest, spare, relief).load
        overs.append(_over(load, rest.capacity))
        at_once.append(_over(outcome(rest, prices, relief).load, rest.capacity))
        used.append(float(np.delete(load / capacity, lost).max()))
    return Planned(
        _over(free.load, capacity), _over(found.load, capacity), max(overs), max(at_once),
        max(used), free.mean_ms, optimum(problem, prices).mean_ms, found.mean_ms,
        cold_s, again_s, losses_s,
    )  # fmt: skip


def _over(load: Floats, capacity: Floats) -> float:
    """Share of the demand above capacity."""
    return float(np.maximum(load - capacity, 0).sum() / load.sum())
