"""From one planning round to the next: which prices hold, and which lie ready for a loss.

Pure, but for the clock that bounds how long a round may take. Regions are indices; what edges make
of prices while regions are lost is `firsthop_steering.decision.charges.prices_in_force`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.decision.charges import prices_in_force
from firsthop_steering.feed.snapshot import Prices
from firsthop_steering.planner.calibration import Calibrated, Calibration
from firsthop_steering.planner.groups import DemandRows, Restored, Supply, problem_of
from firsthop_steering.planner.market import flows, outcome, reliefs
from firsthop_steering.planner.plan import eased, lowest, plan_prices, prices_without
from firsthop_steering.planner.problem import TransportProblem, merged

CALM = 0.7
"""Of its capacity: while no region would carry more if nothing was charged, nothing is charged."""
GROWN = 1.01
"""By how much a region's capacity is multiplied at least before prices may fall at once."""
MIN_MS = 0.05
"""A price below it is none."""
NEWS_MS, SPARE_NEWS_MS = 0.1, 2.0
"""Prices are published when one differs by more from what was published; of those that only lie
ready, by more than the second: every change costs all edges a compilation."""
MIN_ROOM = 0.02
"""Of its capacity: a region full of clients whom others lead is planned with no less."""
BUDGET_S = 3.0
"""After so long in one round the prices for further losses are left to the next."""

PricesByRegion = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class View:
    """What the last round made of things, for operators. By region, clients at once."""

    demand: float
    scale: float
    """Sessions that a client stands for, by what relays report; 1 where they do not."""
    load: Mapping[str, float]
    capacity: Mapping[str, float]
    """Infinite where none is stated."""
    factors: Mapping[str, float]
    """The same for the clients whose home each region is, over `scale`; see `calibration`."""
    worst: float
    """The greatest load over limit that the wanted prices come to."""


@dataclass(slots=True)
class Rounds:
    """Prices in force by region id; `without` has those that lie ready for the loss of one."""

    now: dict[str, float] = field(default_factory=dict)
    without: dict[str, dict[str, float]] = field(default_factory=dict)
    view: View | None = None
    _calibration: Calibration = field(default_factory=Calibration)
    _capacity: dict[str, float] = field(default_factory=dict)
    """By region id, in the last round."""
    _next: int = 0
    """From which region the prices for losses are worked out."""

    def hold(self, prices: Prices) -> None:
        """These are in force, whoever worked them out."""
        self.now = dict(prices.now)
        self.without = {name: dict(row) for name, row in prices.without.items()}

    def snapshot(self, number: int, *, lineage: str, created_at: datetime) -> Prices:
        """What edges have to know."""
        rows = {name: dict(row) for name, row in self.without.items()}
        return Prices(
            number=number, lineage=lineage, created_at=created_at, now=dict(self.now), without=rows
        )

    def in_force(self, names: Sequence[str], lost: Sequence[str]) -> Floats:
        """What edges charge for each region while these are lost."""
        held = Prices.model_construct(now=self.now, without=self.without)
        return np.array(prices_in_force(held, names, lost)) / 1000

    def rest(self, supply: Supply) -> bool:
        """Charge nothing if any one region could carry the sessions of all; says whether so.

        That holds whatever is known of demand, as long as every region reports its sessions.
        """
        is_open = supply.capacity > 0
        if not is_open.any() or np.isnan(supply.sessions[is_open]).any():
            return False
        is_idle = bool(supply.sessions[is_open].sum() <= CALM * supply.capacity[is_open].min())
        if is_idle:
            self.now, self.without = {}, {}
        return is_idle

    def round(
        self,
        rows: DemandRows,
        supply: Supply,
        *,
        elapsed_s: float,
        ttl_s: float,
        clock: Callable[[], float],
        restored: Restored | None = None,
    ) -> None:
        """Plans, and eases what holds towards the plan.

        `elapsed_s` is the time since the last round. `restored` is what the return of the lost
        regions is planned by; without it `now` stays as it is while a region is lost.
        """
        if not supply.stated:
            self.now, self.without, self.view = {}, {}, None  # nobody says what is too much
            return
        if not (supply.capacity > 0).any():
            return  # nobody is served, so nothing is learned of what is too much
        names = list(supply.regions)
        lost = [name for name, gone in zip(names, supply.lost, strict=True) if gone]
        held = self.in_force(names, lost)
        known = self._learn_load(rows, supply, held, elapsed_s=elapsed_s, lag_s=ttl_s)
        may_fall = self._has_grown(supply)
        started = clock()

        def planned(problem: TransportProblem, before: Floats) -> tuple[_Plan, dict[str, float]]:
            least = lowest(before, elapsed_s=elapsed_s, ttl_s=ttl_s)
            found = _planned(problem, names, before, np.zeros(len(names)) if may_fall else least)
            eased_ = eased(before, found.prices, found.least, elapsed_s=elapsed_s, ttl_s=ttl_s)
            return found, _prices_by_region(eased_, names)

        problem = _problem(rows, supply.capacity, known)
        found, prices = planned(problem, held)
        if not lost:
            self.now = prices
        for name in lost:
            self.without[name] = prices
        if lost and restored is not None:
            whole = _problem(restored.rows, restored.capacity, known)
            _, self.now = planned(whole, self._vector(self.now, names))
        if found.wants:
            self._prepare(problem, names, lost, found.prices, lambda: clock() - started > BUDGET_S)
        else:
            self.without = {}
        self._capacity = dict(zip(names, supply.capacity.tolist(), strict=True))
        load = outcome(problem, found.prices, reliefs(names)).load
        scale = found.wants / float(rows.clients.sum())
        each = known.each
        self.view = View(
            found.wants,
            scale,
            dict(zip(names, load.tolist(), strict=True)),
            dict(zip(names, supply.capacity.tolist(), strict=True)),
            {names[at]: float(each[at]) / scale for at in np.flatnonzero(each)} if scale else {},
            found.worst,
        )

    def is_news(self, told: Prices | None) -> bool:
        """Whether edges have to hear of it, who were told that."""
        now, without = (told.now, told.without) if told else ({}, {})
        return _differ(now, self.now, NEWS_MS) or any(
            _differ(without.get(name, {}), self.without.get(name, {}), SPARE_NEWS_MS)
            for name in without.keys() | self.without.keys()
        )

    def _learn_load(
        self, rows: DemandRows, supply: Supply, held: Floats, *, elapsed_s: float, lag_s: float
    ) -> Calibrated:
        """How many sessions a client stands for, by its home."""
        names, count = supply.regions, len(supply.regions)
        heard = np.isfinite(supply.sessions) & (supply.capacity > 0)
        problem = problem_of(rows, supply.capacity, np.ones(count))
        group, region, clients = flows(problem, held, reliefs(names))
        expected = np.bincount(region, clients, count)[heard].sum()
        if not heard.any() or expected <= 0:
            return Calibrated(np.ones(count), np.zeros(count))
        if supply.sessions[heard].sum() <= 0:
            # Whoever counts sessions and has none is believed: questions alone move nobody.
            self._calibration = Calibration()
            return Calibrated(np.zeros(count), np.zeros(count))
        lead = np.zeros((count, count))
        np.add.at(lead, (rows.homes[group], region), clients)
        return self._calibration.learn(
            names,
            lead,
            np.where(heard, supply.sessions, np.nan),
            elapsed_s=elapsed_s,
            lag_s=lag_s,
        )

    def _has_grown(self, supply: Supply) -> bool:
        """Whether a region can carry more than in the last round: it is back, or starts slowly.

        Then the plan is another, and there is no reason to go there slowly: while caches turn from
        one plan to the other, each region carries a mixture of what it does by both.
        """
        return any(
            capacity > GROWN * self._capacity.get(name, np.inf)
            for name, capacity in zip(supply.regions, supply.capacity.tolist(), strict=True)
        )

    def _prepare(
        self,
        problem: TransportProblem,
        names: list[str],
        lost: Sequence[str],
        start: Floats,
        is_late: Callable[[], bool],
    ) -> None:
        """What will hold when one more region is lost, for as many as there is time for."""
        present = {*names}
        self.without = {name: row for name, row in self.without.items() if name in present}
        for offset in range(len(names)):
            at = (self._next + offset) % len(names)
            if names[at] not in lost and problem.capacity[at] > 0:
                # From what lies ready: where that still does, it stays, and nobody has to be told.
                ready = self.without.get(names[at])
                begin = start if ready is None else self._vector(ready, names)
                found = prices_without(problem, names, begin, at)
                self.without[names[at]] = _prices_by_region(found.prices, names)
            if is_late():
                self._next = at + 1
                return
        self._next = 0

    @staticmethod
    def _vector(prices: PricesByRegion, names: list[str], nothing: float = 0.0) -> Floats:
        return np.array([prices.get(name, nothing) for name in names])


@dataclass(frozen=True, slots=True)
class _Plan:
    """Prices in ms, a region each: the wanted ones, and what may be charged at least."""

    wants: float
    """Sessions in all."""
    prices: Floats
    worst: float
    least: Floats


def _planned(problem: TransportProblem, names: list[str], before: Floats, least: Floats) -> _Plan:
    """From the prices before. Nothing, at once, where no region is near its capacity."""
    nothing = np.zeros(len(names))
    wants = float(problem.demand.sum())
    free = outcome(problem, nothing, reliefs(names)).load if wants else nothing
    if (free <= CALM * problem.capacity).all():
        worst = float((free / np.maximum(problem.limits, 1e-9)).max())
        return _Plan(wants, nothing, worst, nothing)
    found = plan_prices(problem, names, before, least)
    return _Plan(wants, found.prices, found.worst, least)


def _problem(rows: DemandRows, capacity: Floats, known: Calibrated) -> TransportProblem:
    room = np.where(capacity > 0, capacity - known.unseen, 0.0)
    room = np.maximum(room, MIN_ROOM * capacity)
    return merged(problem_of(rows, room, known.each))[0]


def _prices_by_region(prices: Floats, names: list[str]) -> dict[str, float]:
    return {
        name: round(price, 2)
        for name, price in zip(names, prices.tolist(), strict=True)
        if price >= MIN_MS
    }


def _differ(before: PricesByRegion, now: PricesByRegion, by_ms: float) -> bool:
    return any(
        abs(before.get(name, 0.0) - now.get(name, 0.0)) > by_ms
        for name in before.keys() | now.keys()
    )
