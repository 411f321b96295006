"""How many clients there are of each service, and where, by the answers that edges report.

An answer to a resolver stands for as long as it is kept, so answers are counted with the service's
TTL, in client-seconds; they halve every ten minutes. Nothing of it outlives a leader: the next one
knows demand again within minutes, and holds the prices in force until then. No clock, no store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Keys

HALF_LIFE_S = 600.0
ALLOCATION_S = 300.0
"""How long a session lasts that was allocated: only the proportion to DNS answers depends on it,
as what agents report says how many sessions there are in all."""
MAX_ENTRIES = 50_000
"""Services × groups; of more, the half with most demand is kept and stands for the rest."""
MIN_HEARD_S = 60.0
"""The first reports tell of more time than has passed since anybody was heard."""
_TAU_S = HALF_LIFE_S / math.log(2)


@dataclass(frozen=True, slots=True)
class DemandClients:
    """One row a service and group: what `Demand` holds as of a time, `count` clients at once."""

    services: tuple[str, ...]
    groups: Keys
    count: Floats


class Demand:
    """Since one leader began."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.answers = 0
        """Of all reports so far."""
        self.reports = 0
        self._epoch = began_at
        """What the masses are as of: those that came later are doubled for every half-life."""
        self._mass: dict[tuple[str, int], float] = {}

    def take(
        self, service: str, groups: Mapping[int, int], *, answers: int, lasts_s: float, now: float
    ) -> None:
        """Answers of a service that last so long, of groups in these proportions."""
        now = max(now, self._epoch)
        if now - self._epoch > 20 * HALF_LIFE_S:
            self._rebase(now)
        noted = sum(groups.values())
        each = answers * lasts_s / noted * 2 ** ((now - self._epoch) / HALF_LIFE_S)
        for group, count in groups.items():
            place = service, group
            self._mass[place] = self._mass.get(place, 0.0) + each * count
        self.answers += answers
        if len(self._mass) > MAX_ENTRIES:
            self._halve()

    def clients(self, now: float) -> DemandClients:
        """Everything known, as rates of late times how long an answer lasts."""
        mass = dict(self._mass)
        heard_s = max(now - self.began_at, MIN_HEARD_S)
        # What began to be heard ten minutes ago is half of what will be heard in the long run.
        whole = _TAU_S * (1 - math.exp(-heard_s / _TAU_S))
        scale = 2 ** (-max(now - self._epoch, 0.0) / HALF_LIFE_S) / whole
        return DemandClients(
            tuple(service for service, _ in mass),
            np.array([group for _, group in mass], dtype=np.uint64),
            np.array(list(mass.values()), dtype=np.float64) * scale,
        )

    def keep_only(self, services: Iterable[str]) -> None:
        """Services that are no more want nothing."""
        present = set(services)
        self._mass = {place: mass for place, mass in self._mass.items() if place[0] in present}

    def _rebase(self, now: float) -> None:
        fall = 2 ** (-(now - self._epoch) / HALF_LIFE_S)
        self._mass = {place: mass * fall for place, mass in self._mass.items()}
        self._epoch = now

    def _halve(self) -> None:
        """Each service keeps its largest group at least, so that none loses anything."""
        before, after = dict[str, float](), dict[str, float]()
        kept: dict[tuple[str, int], float] = {}
        for place, mass in sorted(self._mass.items(), key=lambda each: -each[1]):
            service = place[0]
            before[service] = before.get(service, 0.0) + mass
            if len(kept) < MAX_ENTRIES // 2 or service not in after:
                kept[place] = mass
                after[service] = after.get(service, 0.0) + mass
        self._mass = {
            place: mass * before[place[0]] / after[place[0]] for place, mass in kept.items()
        }
