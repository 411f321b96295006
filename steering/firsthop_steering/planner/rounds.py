"""From one planning round to the next: which prices hold, and which lie ready for a loss.

Pure, but for the clock that bounds how long a round may take. Regions are indices; what edges make
of prices while regions are lost is `firsthop_steering.charges.prices_in_force`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from firsthop_steering.charges import prices_in_force
from firsthop_steering.planner.calibration import Calibrated, Calibration
from firsthop_steering.planner.groups import Rows, Supply, problem_of
from firsthop_steering.planner.market import flows, outcome, reliefs
from firsthop_steering.planner.plan import eased, lowest, plan_prices, prices_without
from firsthop_steering.planner.problem import Problem, merged
from firsthop_steering.rtt.samples import Floats
from firsthop_steering.snapshot import Prices

RETURN_MS = 30.0
"""What a region that is lost will be charged when it is back, above all others: that falls by 5 ms
a TTL, so its clients return within three minutes at 30 s, not all at once."""
LEAST_MS = 0.05
"""A price below it is none."""
NEWS_MS, SPARE_NEWS_MS = 0.1, 2.0
"""Prices are published when one differs by more from what was published; of those that only lie
ready, by more than the second: every change costs all edges a compilation."""
LEAST_ROOM = 0.02
"""Of its capacity: a region full of clients whom others lead is planned with no less."""
BUDGET_S = 3.0
"""After so long in one round the prices for further losses are left to the next."""

Sheet = Mapping[str, float]


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

    def round(
        self,
        rows: Rows,
        supply: Supply,
        *,
        elapsed_s: float,
        ttl_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Plans, and eases what holds towards the plan.

        `elapsed_s` is the time since the last round.
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
        each = known.each
        room = np.where(supply.capacity > 0, supply.capacity - known.unseen, 0.0)
        room = np.maximum(room, LEAST_ROOM * supply.capacity)
        problem, _ = merged(problem_of(rows, room, each))
        wants = float(problem.demand.sum())
        started = clock()
        if wants:
            least = lowest(held, elapsed_s=elapsed_s, ttl_s=ttl_s)
            found = plan_prices(problem, names, held, least)
            wanted, worst = found.prices, found.worst
        else:
            wanted, worst = np.zeros(len(names)), 0.0
        self._hold(eased(held, wanted, elapsed_s=elapsed_s, ttl_s=ttl_s), names, lost)
        if wants:
            self._prepare(problem, names, lost, wanted, lambda: clock() - started > BUDGET_S)
        else:
            self.without = {name: self.without[name] for name in lost}
        load = outcome(problem, wanted, reliefs(names)).load
        scale = wants / float(rows.clients.sum())
        self.view = View(
            wants,
            scale,
            dict(zip(names, load.tolist(), strict=True)),
            dict(zip(names, supply.capacity.tolist(), strict=True)),
            {names[at]: float(each[at]) / scale for at in np.flatnonzero(each)} if scale else {},
            worst,
        )

    def is_news(self, told: Prices | None) -> bool:
        """Whether edges have to hear of it, who were told that."""
        now, without = (told.now, told.without) if told else ({}, {})
        return _differ(now, self.now, NEWS_MS) or any(
            _differ(without.get(name, {}), self.without.get(name, {}), SPARE_NEWS_MS)
            for name in without.keys() | self.without.keys()
        )

    def _learn_load(
        self, rows: Rows, supply: Supply, held: Floats, *, elapsed_s: float, lag_s: float
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

    def _hold(self, prices: Floats, names: list[str], lost: Sequence[str]) -> None:
        """These are in force from now on; a lost region comes back dear."""
        gone = np.array([name in lost for name in names], dtype=bool)
        back = RETURN_MS + max(prices[~gone].tolist(), default=0.0)
        self.now = _sheet(np.where(gone, np.maximum(prices, back), prices), names)
        for name in lost:
            self.without[name] = _sheet(prices, names)

    def _prepare(
        self,
        problem: Problem,
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
                self.without[names[at]] = _sheet(found.prices, names)
            if is_late():
                self._next = at + 1
                return
        self._next = 0

    @staticmethod
    def _vector(sheet: Sheet, names: list[str], nothing: float = 0.0) -> Floats:
        return np.array([sheet.get(name, nothing) for name in names])


def _sheet(prices: Floats, names: list[str]) -> dict[str, float]:
    return {
        name: round(price, 2)
        for name, price in zip(names, prices.tolist(), strict=True)
        if price >= LEAST_MS
    }


def _differ(before: Sheet, now: Sheet, by_ms: float) -> bool:
    return any(
        abs(before.get(name, 0.0) - now.get(name, 0.0)) > by_ms
        for name in before.keys() | now.keys()
    )
