"""How long a DNS answer may be kept: no longer than until health could change it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from firsthop_steering.atlas import Pool, Site
from firsthop_steering.decide import Steering
from firsthop_steering.model import Service, State
from firsthop_steering.verdicts import next_change_s


class Lifetimes:
    """The TTLs of one service's answers under one status."""

    def __init__(self, steering: Steering, service: Service, pool: Pool) -> None:
        self._steering = steering
        self._service = service
        self._measured = any(each.verdict != "unknown" for each in steering.status.relays.values())
        self._revival_s = self._soonest_s(
            site
            for index, site in enumerate(steering.atlas.pools[pool])
            if not steering.up(pool, index) and _may_answer(service, site)
        )

    def ttl(self, site: Site | None) -> int:
        """Seconds for answers of `site`; None stands for those in which no region answers.

        They change when a relay of this region turns, or when one comes back in a region that has
        none and takes the client; never because of what turns elsewhere. Draining, disabled and
        unprobed endpoints do not turn by probes, and where nobody probes nothing does.
        """
        own_s = math.inf if site is None else self._soonest_s((site,))
        certain_s = min(self._service.ttl, own_s, self._revival_s)
        return max(self._service.shortest_ttl, math.floor(certain_s))

    def _soonest_s(self, sites: Iterable[Site]) -> float:
        if not self._measured:
            return math.inf
        held = self._steering.relay_status
        return min(
            (
                next_change_s(held(each.id).verdict, each.probe)
                for site in sites
                for each in site.endpoints
                if each.active and each.weight and each.probe and not held(each.id).draining
            ),
            default=math.inf,
        )


def _may_answer(service: Service, site: Site) -> bool:
    allowed = service.regions is None or site.id in service.regions
    return allowed and site.state is State.ACTIVE and site.weight > 0
