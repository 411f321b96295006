"""Estimates the clients of each service by location from the answers that edges report.

An answer counts for as long as it is cached, so answers are weighted with the service's TTL, in
client-seconds, and decay with a half-life of ten minutes. The state is not stored: a new leader
learns demand again within minutes and keeps the prices in force until then. Time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Keys

HALF_LIFE_S = 600.0
ALLOCATION_S = 300.0
"""Assumed duration of an allocated session. It only affects the weight of allocations relative to
DNS answers, since the reports of agents determine the total number of sessions."""
MAX_ENTRIES = 50_000
"""Limit of (service, group) pairs; above it the half with most demand is kept and scaled up to
represent the rest."""
MIN_OBSERVED_S = 60.0
"""Lower bound of the observed time: the first reports cover a time before the planner began."""
_TAU_S = HALF_LIFE_S / math.log(2)


@dataclass(frozen=True, slots=True)
class DemandClients:
    """One row per service and group; `count` is the number of concurrent clients."""

    services: tuple[str, ...]
    groups: Keys
    count: Floats


class Demand:
    """The demand observed since one leader began."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.answers = 0
        """Answers in all reports so far."""
        self.reports = 0
        self._epoch = began_at
        """Reference time of the masses: a later answer weighs double per half-life since then."""
        self._mass: dict[tuple[str, int], float] = {}

    def take(
        self, service: str, groups: Mapping[int, int], *, answers: int, lasts_s: float, now: float
    ) -> None:
        """Adds answers of a service that are cached for `lasts_s`.

        `groups` maps each group to the number of its samples.
        """
        now = max(now, self._epoch)
        if now - self._epoch > 20 * HALF_LIFE_S:
            self._rebase(now)
        noted = sum(groups.values())
        each = answers * lasts_s / noted * 2 ** ((now - self._epoch) / HALF_LIFE_S)
        for group, count in groups.items():
            pair = service, group
            self._mass[pair] = self._mass.get(pair, 0.0) + each * count
        self.answers += answers
        if len(self._mass) > MAX_ENTRIES:
            self._halve()

    def clients(self, now: float) -> DemandClients:
        """The current demand: recent answer rates times the time that an answer is cached."""
        mass = dict(self._mass)
        observed_s = max(now - self.began_at, MIN_OBSERVED_S)
        # After ten minutes of observation half of the steady-state mass has accumulated.
        whole = _TAU_S * (1 - math.exp(-observed_s / _TAU_S))
        scale = 2 ** (-max(now - self._epoch, 0.0) / HALF_LIFE_S) / whole
        return DemandClients(
            tuple(service for service, _ in mass),
            np.array([group for _, group in mass], dtype=np.uint64),
            np.array(list(mass.values()), dtype=np.float64) * scale,
        )

    def keep_only(self, services: Iterable[str]) -> None:
        """Drops the demand of all other services."""
        present = set(services)
        self._mass = {pair: mass for pair, mass in self._mass.items() if pair[0] in present}

    def _rebase(self, now: float) -> None:
        fall = 2 ** (-(now - self._epoch) / HALF_LIFE_S)
        self._mass = {pair: mass * fall for pair, mass in self._mass.items()}
        self._epoch = now

    def _halve(self) -> None:
        """Drops the smaller half; each service keeps at least its largest group and its total."""
        before, after = dict[str, float](), dict[str, float]()
        kept: dict[tuple[str, int], float] = {}
        for pair, mass in sorted(self._mass.items(), key=lambda each: -each[1]):
            service = pair[0]
            before[service] = before.get(service, 0.0) + mass
            if len(kept) < MAX_ENTRIES // 2 or service not in after:
                kept[pair] = mass
                after[service] = after.get(service, 0.0) + mass
        self._mass = {pair: mass * before[pair[0]] / after[pair[0]] for pair, mass in kept.items()}
