"""Steering by load through caching resolvers: a simulated hour, for bench/steering.py.

Clients ask 20 resolvers a group; a resolver keeps its answer for the TTL and asks again. So a
price reaches clients only little by little, and load is seen late: the two delays on which on/off
drains swing. Demand of one region's clients doubles within a minute and stays so; everybody's
demand also wanders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bench.internet import Floats, Ints, World

from firsthop_steering.planner.local import adjusted
from firsthop_steering.planner.market import charged_ms, outcome, reliefs
from firsthop_steering.planner.plan import corrected, eased, plan_prices
from firsthop_steering.planner.problem import Problem
from firsthop_steering.rendezvous import BUCKETS

TTL_S, REPORT_S, PLAN_S, HOUR_S, STEP_S = 30, 5, 10, 3600, 1
SURGE_AT_S, SURGE_S = 600, 60
CUT_AT_S, CUT_S = 570, 1800
"""Half an hour without a planner, from just before the surge on."""
RESOLVERS = 20
LOAD = 0.65
"""Of all capacity, before the surge."""
DRAIN_ABOVE, RETURN_BELOW = 0.95, 0.80


@dataclass(frozen=True, slots=True)
class Hour:
    """What came of it: utilisations (seconds × regions) and the figures."""

    utilisation: Floats
    overload: float
    """Share of the demand above capacity, from two minutes after the surge on."""
    moved: float
    """Populations that changed their region in the hour."""
    swings: float
    """Turns of a region's utilisation by 10 points or more, a region, in the hour after the surge
    has been answered."""


Controller = Callable[[int, Floats, Floats, Floats], tuple[Floats, Floats]]
"""From (second, reported demand of groups, reported load, prices) to (prices, drained regions)."""


def by_prices(world: World, capacity: Floats, names: Sequence[str]) -> Controller:
    """Firsthop's planner."""

    factors = np.ones(len(capacity))
    relief = reliefs(names)

    def control(second: int, demand: Floats, load: Floats, prices: Floats) -> tuple[Floats, Floats]:
        nonlocal factors
        if second % PLAN_S == 0:
            predicted = outcome(Problem(world.rtt_ms, demand, capacity), prices, relief).load
            factors = corrected(factors, load, predicted)
            problem = Problem(world.rtt_ms, demand, capacity / factors)
            wanted = plan_prices(problem, names, prices).prices
            prices = eased(prices, wanted, elapsed_s=PLAN_S, ttl_s=TTL_S)
        return prices, np.zeros(len(capacity))

    return control


def cut_off(planner: Controller, capacity: Floats, *, local: bool) -> Controller:
    """The planner is not heard for half an hour; edges hold its last prices, or, `local`, adjust
    them by the load that relays report."""

    def control(second: int, demand: Floats, load: Floats, prices: Floats) -> tuple[Floats, Floats]:
        if not CUT_AT_S <= second < CUT_AT_S + CUT_S:
            return planner(second, demand, load, prices)
        if local:
            prices = adjusted(prices, load / capacity, elapsed_s=REPORT_S, ttl_s=TTL_S)
        return prices, np.zeros(len(capacity))

    return control


def by_draining(capacity: Floats) -> Controller:
    """On/off: a region above 95 % is taken out of the answers, until it is below 80 %."""
    drained = np.zeros(len(capacity))

    def control(second: int, demand: Floats, load: Floats, prices: Floats) -> tuple[Floats, Floats]:
        used = load / capacity
        drained[used > DRAIN_ABOVE] = 1
        drained[used < RETURN_BELOW] = 0
        if drained.all():
            drained[:] = 0
        return prices, drained

    return control


def uncontrolled(capacity: Floats) -> Controller:
    """Nearest only."""
    return lambda second, demand, load, prices: (prices, np.zeros(len(capacity)))


def simulate(
    world: World, capacity: Floats, names: Sequence[str], control: Controller, seed: int
) -> Hour:
    """An hour."""
    draw = np.random.default_rng(seed)
    groups, regions = world.rtt_ms.shape
    base = draw.lognormal(0, 1, groups)
    base *= LOAD * capacity.sum() / base.sum()
    group = np.repeat(np.arange(groups), RESOLVERS)
    share = draw.dirichlet(np.ones(RESOLVERS), groups).ravel()
    bucket = draw.integers(0, BUCKETS, len(group))
    asks_at = draw.integers(0, TTL_S, len(group))
    relief = reliefs(names)
    prices, drained = np.zeros(regions), np.zeros(regions)
    surging = (
        world.rtt_ms.argmin(axis=1)
        == np.bincount(world.rtt_ms.argmin(axis=1), base, regions).argmax()
    )
    answer = np.full(len(group), -1)
    walk = np.zeros(groups)
    used, over, total, moved, load = [], 0.0, 0.0, 0.0, np.zeros(regions)
    for second in range(0, HOUR_S, STEP_S):
        walk = 0.999 * walk + draw.normal(0, 0.002, groups)
        surge = 1 + np.clip((second - SURGE_AT_S) / SURGE_S, 0, 1) * surging
        demand = base * surge * np.exp(walk)
        if second % REPORT_S == 0 and second:
            prices, drained = control(second, demand, load, prices)
        due = np.flatnonzero((second % TTL_S == asks_at) | (answer < 0))
        before = answer[due].copy()
        answer[due] = _answers(world, group[due], bucket[due], prices, drained, relief)
        weight = share * demand[group]
        changed = (before >= 0) & (before != answer[due])
        moved += float(weight[due][changed].sum())
        load = np.bincount(answer, weight, regions).astype(np.float64)
        used.append(load / capacity)
        if second >= SURGE_AT_S + 120:
            over += float(np.maximum(load - capacity, 0).sum())
            total += float(demand.sum())
    utilisation = np.array(used)
    mean_demand = float(base.sum())
    return Hour(utilisation, over / total, moved / mean_demand, _swings(utilisation))


def _answers(
    world: World, group: Ints, bucket: Ints, prices: Floats, drained: Floats, relief: Floats
) -> Ints:
    charged = charged_ms(prices, relief)[bucket]
    return (world.rtt_ms[group] + charged + 1e6 * drained).argmin(axis=1)


def _swings(utilisation: Floats) -> float:
    """Turning points with at least 10 points between them, from ten minutes after the surge on."""
    turns = 0
    for series in utilisation[SURGE_AT_S + 600 :].T:
        last, direction = series[0], 0
        for value in series:
            if direction >= 0 and value < last - 0.1:
                turns += direction > 0
                last, direction = value, -1
            elif direction <= 0 and value > last + 0.1:
                turns += direction < 0
                last, direction = value, 1
            elif (direction >= 0 and value > last) or (direction < 0 and value < last):
                last = value
    return turns / utilisation.shape[1]
