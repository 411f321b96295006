"""The depool guard over time: who fell first, of all relays, of one family, of transceivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from firsthop_steering.health.depool import Fallen, Shares, guarded
from firsthop_steering.plan.model import Relay, Transceiver


@dataclass(slots=True)
class DepoolGuard:
    """Keeps in mind since when those are measured down that have not turned."""

    of: str
    """What it counts: relays, ipv6 addresses, transceivers."""
    shares: Shares
    _fallen_at: dict[str, float] = field(default_factory=dict)

    def refused(
        self, fallen: Mapping[str, bool], present: Iterable[Relay | Transceiver], at: float
    ) -> dict[str, str]:
        """Which of those present may not turn, and why.

        `fallen` has those of `present` that are measured down, True: and have turned already.
        """
        if all(fallen.values()):
            self._fallen_at = {}
            return {}
        regions = {relay.id: relay.region for relay in present}
        found = [
            Fallen(name, regions[name], 0.0 if is_down else self._fallen_at.get(name, at), is_down)
            for name, is_down in fallen.items()
        ]
        self._fallen_at = {each.relay: each.since for each in found if not each.is_down}
        return guarded(found, Counter(regions.values()), self.shares, of=self.of)
