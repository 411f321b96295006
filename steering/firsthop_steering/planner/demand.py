"""Estimates the clients of each service by location from the answers that edges report.

An answer counts for as long as it is cached, so answers are weighted with the service's TTL, in
client-seconds, and decay with a half-life of ten minutes. The state is not stored: a new leader
learns demand again within minutes and keeps the prices in force until then. Time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Keys
from firsthop_steering.plan.model import Family

HALF_LIFE_S = 600.0
ALLOCATION_S = 300.0
"""Assumed duration of an allocated session. It only affects the weight of allocations relative to
DNS answers, since the reports of agents determine the total number of sessions."""
MAX_ENTRIES = 50_000
"""Limit of (service, group) pairs; above it the source with most pairs keeps the half with most
demand, scaled up to represent the rest."""
MAX_TIMES = 10.0
"""One source counts at most for this multiple of all others together, so that no edge, whatever it
reports, makes the clients of all others vanish."""
MIN_OBSERVED_S = 60.0
"""Lower bound of the observed time: the first reports cover a time before the planner began."""
_TAU_S = HALF_LIFE_S / math.log(2)
_Mass = dict[tuple[str, int, Family | None], float]
"""By service, group and family of the addresses asked for, in client-seconds."""


@dataclass(frozen=True, slots=True)
class DemandClients:
    """One row per service and group; `count` is the number of concurrent clients."""

    services: tuple[str, ...]
    groups: Keys
    count: Floats
    families: tuple[Family | None, ...] = ()
    """The family of the addresses that each asks for, if the regions of both may differ; empty: of
    none."""


class Demand:
    """The demand observed since one leader began, by the source that reported it."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.answers = 0
        """Answers in all reports so far."""
        self.reports = 0
        self._epoch = began_at
        """Reference time of the masses: a later answer weighs double per half-life since then."""
        self._masses: dict[str, _Mass] = {}
        """By source."""

    def take(
        self,
        service: str,
        groups: Mapping[int, int],
        *,
        answers: int,
        lasts_s: float,
        now: float,
        source: str = "",
        family: Family | None = None,
    ) -> None:
        """Adds answers of a service that are cached for `lasts_s`, as `source` reports them.

        `groups` maps each group to the number of its samples; `family` is that of the addresses,
        if the regions of both families may differ.
        """
        now = max(now, self._epoch)
        if now - self._epoch > 20 * HALF_LIFE_S:
            self._rebase(now)
        noted = sum(groups.values())
        each = answers * lasts_s / noted * 2 ** ((now - self._epoch) / HALF_LIFE_S)
        mass = self._masses.setdefault(source, {})
        for group, count in groups.items():
            pair = service, group, family
            mass[pair] = mass.get(pair, 0.0) + each * count
        self.answers += answers
        if sum(map(len, self._masses.values())) > MAX_ENTRIES:
            largest = max(self._masses, key=lambda name: len(self._masses[name]))
            self._masses[largest] = _halved(self._masses[largest])

    def clients(self, now: float) -> DemandClients:
        """The current demand: recent answer rates times the time that an answer is cached."""
        mass = self._bounded_sum()
        observed_s = max(now - self.began_at, MIN_OBSERVED_S)
        # After ten minutes of observation half of the steady-state mass has accumulated.
        whole = _TAU_S * (1 - math.exp(-observed_s / _TAU_S))
        scale = 2 ** (-max(now - self._epoch, 0.0) / HALF_LIFE_S) / whole
        return DemandClients(
            tuple(service for service, _, _ in mass),
            np.array([group for _, group, _ in mass], dtype=np.uint64),
            np.array(list(mass.values()), dtype=np.float64) * scale,
            tuple(family for _, _, family in mass),
        )

    def _bounded_sum(self) -> _Mass:
        """The demand of all sources; of each at most MAX_TIMES that of all others together."""
        totals = {source: sum(mass.values()) for source, mass in self._masses.items()}
        whole, result = sum(totals.values()), _Mass()
        for source, mass in self._masses.items():
            own, others = totals[source], whole - totals[source]
            factor = min(1.0, MAX_TIMES * others / own) if others > 0 else 1.0
            for pair, value in mass.items():
                result[pair] = result.get(pair, 0.0) + value * factor
        return result

    def keep_only(self, services: Iterable[str]) -> None:
        """Drops the demand of all other services."""
        present = set(services)
        self._masses = {
            source: {pair: value for pair, value in mass.items() if pair[0] in present}
            for source, mass in self._masses.items()
        }

    def keep_sources(self, is_valid: Callable[[str], bool]) -> None:
        """Drops the demand that other sources reported."""
        for source in [each for each in self._masses if not is_valid(each)]:
            del self._masses[source]

    def _rebase(self, now: float) -> None:
        fall = 2 ** (-(now - self._epoch) / HALF_LIFE_S)
        self._masses = {
            source: {pair: value * fall for pair, value in mass.items()}
            for source, mass in self._masses.items()
        }
        self._epoch = now


def _halved(mass: _Mass) -> _Mass:
    """The larger half; each service keeps at least its largest group and its total."""
    before, after = dict[str, float](), dict[str, float]()
    kept: _Mass = {}
    for pair, value in sorted(mass.items(), key=lambda each: -each[1]):
        service = pair[0]
        before[service] = before.get(service, 0.0) + value
        if len(kept) < len(mass) // 2 or service not in after:
            kept[pair] = value
            after[service] = after.get(service, 0.0) + value
    return {pair: value * before[pair[0]] / after[pair[0]] for pair, value in kept.items()}
