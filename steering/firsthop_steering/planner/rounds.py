"""The state between planning rounds: prices in force, and prices prepared for a region's loss.

Pure except for the clock that bounds the duration of a round. Edges select the prices that apply
while regions are lost by `firsthop_steering.decision.charges.prices_in_force`.
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
from firsthop_steering.planner.plan import bounded_prices, plan_prices, price_floor, prices_without
from firsthop_steering.planner.problem import TransportProblem, merged

CALM = 0.7
"""Utilisation up to which a region is calm. If all regions would be calm without prices, all prices
are 0."""
GROWN = 1.01
"""Growth of a region's capacity from which prices may fall at once."""
MIN_MS = 0.05
"""A lower price is dropped."""
NEWS_MS, SPARE_NEWS_MS = 0.1, 2.0
"""Changes above which prices are published: of prices in force, and of prices prepared for a loss.
Every publication costs all edges a compilation."""
MIN_ROOM = 0.02
"""Lower bound of the room that a plan assumes in a region, relative to its capacity, even if unseen
clients fill the region."""
BUDGET_S = 3.0
"""Time after which a round leaves the prices for further losses to the next round."""

PricesByRegion = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class View:
    """The last round's view of demand and load, for operators; mappings are by region id."""

    demand: float
    scale: float
    """Sessions per client, estimated from relays' reports; 1 without reports."""
    load: Mapping[str, float]
    capacity: Mapping[str, float]
    """Infinite if none is stated."""
    factors: Mapping[str, float]
    """Sessions per client by home region, relative to `scale`; see `calibration`."""
    worst: float
    """The largest ratio of load to limit under the wanted prices."""


@dataclass(slots=True)
class Rounds:
    """Prices in force by region id; `without` holds those prepared for the loss of each region."""

    now: dict[str, float] = field(default_factory=dict)
    without: dict[str, dict[str, float]] = field(default_factory=dict)
    view: View | None = None
    _calibration: Calibration = field(default_factory=Calibration)
    _capacity: dict[str, float] = field(default_factory=dict)
    """By region id, in the last round."""
    _next: int = 0
    """Index of the region with whose loss the next round's preparation begins."""

    def hold(self, prices: Prices) -> None:
        """Takes over published prices."""
        self.now = dict(prices.now)
        self.without = {name: dict(row) for name, row in prices.without.items()}

    def snapshot(self, number: int, *, lineage: str, created_at: datetime) -> Prices:
        """The prices as a snapshot for edges."""
        rows = {name: dict(row) for name, row in self.without.items()}
        return Prices(
            number=number, lineage=lineage, created_at=created_at, now=dict(self.now), without=rows
        )

    def in_force(self, names: Sequence[str], lost: Sequence[str]) -> Floats:
        """The price in ms that edges apply to each region while the regions in `lost` are lost."""
        held = Prices.model_construct(now=self.now, without=self.without)
        return np.array(prices_in_force(held, names, lost)) / 1000

    def clear_if_calm(self, supply: Supply) -> bool:
        """Sets all prices to 0 if every region could carry all sessions; returns whether it did.

        For rounds that cannot be planned, because too little is known of demand.
        """
        is_calm = _is_calm(supply)
        if is_calm:
            self.now, self.without = {}, {}
        return is_calm

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
        """Plans, and moves the prices in force towards the plan.

        `elapsed_s` is the time since the last round. `restored` holds demand and capacity for the
        return of lost regions; without it `now` stays unchanged while a region is lost.
        """
        if not supply.stated:
            self.now, self.without, self.view = {}, {}, None  # no relay states a capacity
            return
        if not (supply.capacity > 0).any():
            return  # no region is up, so load tells nothing
        names = list(supply.regions)
        lost = [name for name, gone in zip(names, supply.lost, strict=True) if gone]
        held = self.in_force(names, lost)
        known = self._learn_load(rows, supply, held, elapsed_s=elapsed_s, lag_s=ttl_s)
        is_calm, may_fall = _is_calm(supply), self._has_grown(supply)
        started = clock()

        def planned(problem: TransportProblem, before: Floats) -> tuple[_Plan, dict[str, float]]:
            floor = price_floor(before, elapsed_s=elapsed_s, ttl_s=ttl_s)
            floor = np.zeros(len(names)) if may_fall else floor
            found = _planned(problem, names, before, floor, is_calm=is_calm)
            published = bounded_prices(
                before, found.prices, found.floor, elapsed_s=elapsed_s, ttl_s=ttl_s
            )
            return found, _prices_by_region(published, names)

        problem = _problem(rows, supply.capacity, known)
        found, prices = planned(problem, held)
        if not lost:
            self.now = prices
        for name in lost:
            self.without[name] = prices
        if lost and restored is not None:
            whole = _problem(restored.rows, restored.capacity, known)
            _, self.now = planned(whole, self._vector(self.now, names))
        if found.wants and not is_calm:
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

    def differs_from(self, published: Prices | None) -> bool:
        """Whether the prices differ enough from the `published` ones to be published too."""
        now, without = (published.now, published.without) if published else ({}, {})
        return _differ(now, self.now, NEWS_MS) or any(
            _differ(without.get(name, {}), self.without.get(name, {}), SPARE_NEWS_MS)
            for name in without.keys() | self.without.keys()
        )

    def _learn_load(
        self, rows: DemandRows, supply: Supply, held: Floats, *, elapsed_s: float, lag_s: float
    ) -> Calibrated:
        """Estimates sessions per client by home, and unseen load by region."""
        names, count = supply.regions, len(supply.regions)
        reporting = np.isfinite(supply.sessions) & (supply.capacity > 0)
        problem = problem_of(rows, supply.capacity, np.ones(count))
        group, region, clients = flows(problem, held, reliefs(names))
        expected = np.bincount(region, clients, count)[reporting].sum()
        if not reporting.any() or expected <= 0:
            return Calibrated(np.ones(count), np.zeros(count))
        if supply.sessions[reporting].sum() <= 0:
            # Reports of no sessions are trusted: requests alone do not justify prices.
            self._calibration = Calibration()
            return Calibrated(np.zeros(count), np.zeros(count))
        lead = np.zeros((count, count))
        np.add.at(lead, (rows.homes[group], region), clients)
        return self._calibration.learn(
            names,
            lead,
            np.where(reporting, supply.sessions, np.nan),
            elapsed_s=elapsed_s,
            lag_s=lag_s,
        )

    def _has_grown(self, supply: Supply) -> bool:
        """Whether a region's capacity has grown since the last round (return, slow start).

        Prices may then fall at once: while caches change over, each region carries a mixture of its
        loads under the old and the new plan.
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
        """Prepares prices for the loss of each further region, until time runs out."""
        present = {*names}
        self.without = {name: row for name, row in self.without.items() if name in present}
        for offset in range(len(names)):
            at = (self._next + offset) % len(names)
            if names[at] not in lost and problem.capacity[at] > 0:
                # Prepared prices that still suffice are kept, so nothing has to be published.
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
    """The wanted prices and their lower bounds (`floor`), in ms per region."""

    wants: float
    """Total demand in sessions."""
    prices: Floats
    worst: float
    floor: Floats


def _is_calm(supply: Supply) -> bool:
    """Whether every region could carry all sessions, by the reports of all that have capacity."""
    is_open = supply.capacity > 0
    if not is_open.any() or np.isnan(supply.sessions[is_open]).any():
        return False
    return bool(supply.sessions[is_open].sum() <= CALM * supply.capacity[is_open].min())


def _planned(
    problem: TransportProblem, names: list[str], before: Floats, floor: Floats, *, is_calm: bool
) -> _Plan:
    """Plans from the prices `before`; all prices are 0 if no region is near its capacity."""
    nothing = np.zeros(len(names))
    wants = float(problem.demand.sum())
    free = outcome(problem, nothing, reliefs(names)).load if wants else nothing
    if is_calm or (free <= CALM * problem.capacity).all():
        worst = float((free / np.maximum(problem.limits, 1e-9)).max())
        return _Plan(wants, nothing, worst, nothing)
    found = plan_prices(problem, names, before, floor)
    return _Plan(wants, found.prices, found.worst, floor)


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
