"""Steering by load through caching resolvers: 70 simulated minutes, for bench/steering.py.

Clients are behind resolvers, in proportion to their group's demand; a resolver caches its answer
for the TTL and then queries its edge again. So a price reaches clients gradually, load is observed
late, and a surge does not change the number of answers, as resolvers ask as often as before.
Planners get the information they have in production: answers, one in eight sampled, reported every
10 s, and the sessions of each region every 5 s. `Demand`, `Rounds` and `Calibration` are those of
the product.

The demand of one region's clients doubles within a minute and stays so for half an hour; then that
of another region does. All demand also fluctuates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from bench.internet import Floats, Ints, World

from firsthop_steering.decision.rendezvous import BUCKETS
from firsthop_steering.feed.demand import SAMPLED
from firsthop_steering.planner.demand import Demand
from firsthop_steering.planner.groups import DemandRows, Supply
from firsthop_steering.planner.market import charged_ms, reliefs
from firsthop_steering.planner.planner import FULL_PLAN_S, PLAN_S
from firsthop_steering.planner.rounds import BUDGET_S, Rounds

TTL_S, LOADS_S, ANSWERS_S, END_S = 30, 5, 10, 4200
SURGES_S, SURGE_LASTS_S, RISE_S = (600, 2400), 1800, 60
EDGES = 3
CUT_AT_S, ISOLATED_AFTER_S = 570, 30
"""Times in s: when edges lose the planner for the rest of the run, and how much later they plan
themselves."""
RESOLVERS = 20
"""A group, on average."""
LOAD = 0.65
"""Demand before the surge, relative to all capacity."""
DRAIN_ABOVE, RETURN_BELOW = 0.95, 0.80
SETTLED_S = 120
"""Time after the beginning of a surge by which it should be handled."""


@dataclass(frozen=True, slots=True)
class Hour:
    """The results of a run."""

    utilisation: Floats
    """Seconds × regions."""
    overload: Floats
    """Share of all demand above capacity, per second from the first surge on."""
    moved: float
    """Populations that changed their region."""

    @property
    def answered(self) -> Floats:
        """Overload, without the two minutes after the beginning of each surge."""
        second = SURGES_S[0] + np.arange(len(self.overload))
        fresh = [(second >= at) & (second < at + SETTLED_S) for at in SURGES_S]
        found: Floats = self.overload[~np.any(fresh, axis=0)]
        return found

    @property
    def swings(self) -> float:
        """Reversals of utilisation by 10 points or more, per region, from ten minutes after the
        first surge to the second."""
        turns = 0
        for series in self.utilisation[SURGES_S[0] + 600 : SURGES_S[1]].T:
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
        return turns / self.utilisation.shape[1]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is observable at one second: answers of each group by edge, and load by region."""

    second: int
    noted: Ints
    """Edges × groups: sampled answers of the last ANSWERS_S; empty in between."""
    answers: Ints
    """Answers of each edge in the same time."""
    load: Floats


Controller = Callable[[Seen, Floats], tuple[Floats, Floats]]
"""Maps observations and prices (edges × regions) to new prices and drained regions."""


class OnePlanner:
    """The product's planner, with the answers of some edges."""

    def __init__(self, world: World, capacity: Floats, names: Sequence[str]) -> None:
        self.rounds = Rounds()
        self._demand = Demand(0.0)
        self._cost = world.rtt_ms
        self._supply = Supply(names, capacity, capacity, np.zeros(len(capacity), dtype=bool))
        self._planned_at = 0

    def hear(self, seen: Seen, edge: int) -> None:
        """A report of an edge."""
        groups = np.flatnonzero(seen.noted[edge])
        if len(groups):
            noted = dict(zip(groups.tolist(), seen.noted[edge, groups].tolist(), strict=True))
            answers, now = int(seen.answers[edge]), float(seen.second)
            self._demand.take("relay", noted, answers=answers, lasts_s=TTL_S, now=now)

    def plan(self, seen: Seen, prices: Floats) -> Floats:
        """Prices after a round."""
        clients = self._demand.clients(float(seen.second))
        if not len(clients.count):
            return prices
        cost = self._cost[clients.groups.astype(np.int64)]
        supply = self._supply
        given = Supply(supply.regions, supply.capacity, seen.load, supply.lost)
        late = count(step=BUDGET_S + 1)  # bench/capacity.py covers the prices for losses
        self.rounds.round(
            DemandRows(cost, clients.count, cost.argmin(axis=1)),
            given,
            elapsed_s=seen.second - self._planned_at,
            ttl_s=TTL_S,
            clock=lambda: float(next(late)),
        )
        self._planned_at = seen.second
        return np.array([self.rounds.now.get(name, 0.0) for name in supply.regions])


def by_prices(
    world: World, capacity: Floats, names: Sequence[str], isolated: int = 0, *, held: bool = False
) -> Controller:
    """Firsthop's planner. From CUT_AT_S on the first `isolated` edges do not receive its prices:
    they plan themselves, or hold the last prices (`held`)."""
    leader = OnePlanner(world, capacity, names)
    edges = [OnePlanner(world, capacity, names) for _ in range(isolated)]
    nothing = np.zeros(len(capacity))

    def control(seen: Seen, prices: Floats) -> tuple[Floats, Floats]:
        prices = prices.copy()
        cut = seen.second >= CUT_AT_S
        for edge in range(EDGES):
            if edge < isolated:
                edges[edge].hear(seen, edge)
            if not (cut and edge < isolated):
                leader.hear(seen, edge)
        plan_s = FULL_PLAN_S if (seen.load > capacity).any() else PLAN_S
        if seen.second % int(plan_s):
            return prices, nothing
        following = range(isolated if cut else 0, EDGES)
        if following:
            prices[following] = leader.plan(seen, prices[following[0]])
        for edge in range(isolated if cut and not held else 0):
            own = edges[edge]
            if seen.second == CUT_AT_S:
                own.rounds.now = dict(leader.rounds.now)
            if seen.second >= CUT_AT_S + ISOLATED_AFTER_S:
                prices[edge] = own.plan(seen, prices[edge])
        return prices, nothing

    return control


def by_draining(capacity: Floats) -> Controller:
    """On/off control: a region above 95 % is drained until it is below 80 %."""
    drained = np.zeros(len(capacity))

    def control(seen: Seen, prices: Floats) -> tuple[Floats, Floats]:
        used = seen.load / capacity
        drained[used > DRAIN_ABOVE] = 1
        drained[used < RETURN_BELOW] = 0
        if drained.all():
            drained[:] = 0
        return prices, drained

    return control


def uncontrolled(capacity: Floats) -> Controller:
    """No control: always the nearest region."""
    return lambda seen, prices: (prices, np.zeros(len(capacity)))


def simulate(
    world: World,
    capacity: Floats,
    names: Sequence[str],
    control: Controller,
    seed: int,
    *,
    session_s: float = 0.0,
) -> Hour:
    """Runs the simulation. Sessions stay in their region and last `session_s` on average; 0:
    clients follow their resolver's last answer."""
    draw = np.random.default_rng(seed)
    groups, regions = world.rtt_ms.shape
    base = draw.lognormal(0, 1, groups)
    base *= LOAD * capacity.sum() / base.sum()
    behind = np.maximum(np.round(base / base.sum() * RESOLVERS * groups), 1).astype(np.int64)
    group = np.repeat(np.arange(groups), behind)
    share = draw.lognormal(0, 1, len(group))
    share /= np.bincount(group, share, groups)[group]
    bucket = draw.integers(0, BUCKETS, len(group))
    edge = draw.integers(0, EDGES, len(group))
    asks_at = draw.integers(0, TTL_S, len(group))
    relief = reliefs(names)
    prices, drained = np.zeros((EDGES, regions)), np.zeros(regions)
    surges = _surges(world, base)
    answer = np.full(len(group), -1)
    walk = np.zeros(groups)
    noted = np.zeros((EDGES, groups), dtype=np.int64)
    used, over, moved, load = [], [], 0.0, np.zeros(regions)
    for second in range(END_S):
        walk = 0.999 * walk + draw.normal(0, 0.002, groups)
        demand = base * np.exp(walk)
        for at, who in surges:
            up = min((second - at) / RISE_S, 1.0, (at + SURGE_LASTS_S - second) / RISE_S)
            demand = demand * (1 + max(up, 0.0) * who)
        if second % LOADS_S == 0 and second:
            tells = second % ANSWERS_S == 0
            answers = noted.sum(axis=1)
            sample = draw.binomial(noted, 1 / (SAMPLED + 1)) if tells else np.zeros_like(noted)
            prices, drained = control(Seen(second, sample, answers, load), prices)
            if tells:
                noted[:] = 0
        due = np.flatnonzero((second % TTL_S == asks_at) | (answer < 0))
        np.add.at(noted, (edge[due], group[due]), 1)
        before = answer[due].copy()
        charged = charged_ms(prices[edge[due]], relief[bucket[due]])
        answer[due] = (world.rtt_ms[group[due]] + charged + 1e6 * drained).argmin(axis=1)
        weight = share * demand[group]
        changed = (before >= 0) & (before != answer[due])
        moved += float(weight[due][changed].sum())
        wanted = np.bincount(answer, weight, regions).astype(np.float64)
        load = load + (wanted - load) / session_s if session_s and second else wanted
        used.append(load / capacity)
        over.append(float(np.maximum(load - capacity, 0).sum() / demand.sum()))
    return Hour(np.array(used), np.array(over[SURGES_S[0] :]), moved / float(base.sum()))


def _surges(world: World, base: Floats) -> list[tuple[int, Floats]]:
    """When and where demand doubles: clients of the largest region, then of the next."""
    nearest = world.rtt_ms.argmin(axis=1)
    largest = np.argsort(-np.bincount(nearest, base, world.rtt_ms.shape[1]), kind="stable")
    return [
        (at, (nearest == region).astype(np.float64))
        for at, region in zip(SURGES_S, largest, strict=False)
    ]
