"""The depool guard over time: it remembers which were measured down first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from firsthop_steering.health.depool import Fallen, Shares, guarded
from firsthop_steering.plan.model import Relay, Transceiver


@dataclass(slots=True)
class DepoolGuard:
    """Remembers since when each is measured down that the guard keeps from turning down."""

    of: str
    """What it guards, for use in reasons: relays, ipv6 addresses, transceivers."""
    shares: Shares
    _down_since: dict[str, float] = field(default_factory=dict)

    def refused(
        self, measured_down: Mapping[str, bool], present: Iterable[Relay | Transceiver], at: float
    ) -> dict[str, str]:
        """The names whose verdict may not turn down, and why.

        `measured_down` has the names from `present` that are measured down; the value is True if
        the verdict is already down.
        """
        if all(measured_down.values()):
            self._down_since = {}
            return {}
        regions = {relay.id: relay.region for relay in present}
        found = [
            Fallen(name, regions[name], 0.0 if is_down else self._down_since.get(name, at), is_down)
            for name, is_down in measured_down.items()
        ]
        self._down_since = {each.relay: each.since for each in found if not each.is_down}
        return guarded(found, Counter(regions.values()), self.shares, of=self.of)
