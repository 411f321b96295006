"""The TTL of a DNS answer: at most the time until a change of health could alter it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from firsthop_steering.decision.availability import FAMILIES, Availability
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Endpoint, Pool, Site
from firsthop_steering.health.slow_start import next_step_s
from firsthop_steering.health.verdicts import next_change_s
from firsthop_steering.plan.model import Service, State


class Lifetimes:
    """The TTLs of one service's answers under one status."""

    def __init__(self, steering: Steering, service: Service, pool: Pool) -> None:
        self._steering = steering
        self._service = service
        self._candidates_up = steering.candidates_up(service, pool)
        self._measured = any(each.verdict != "unknown" for each in steering.status.relays.values())
        sites = [
            (site, self._candidates_up.up[index])
            for index, site in enumerate(steering.topology.pools[pool])
            if _may_answer(service, site)
        ]
        down = self._soonest_s(site for site, up in sites if not up)
        steps = (self._step_s(each) for site, _ in sites for each in self._endpoints(site))
        rising = min(steps, default=math.inf)
        doubted = self._doubted_s(sites)
        self._gain_s = min(down, rising, doubted)
        """Seconds until some region could gain clients because a region returns, a slow start
        advances, or the local vantage starts or stops being trusted."""

    def ttl(self, site: Site | None) -> int:
        """TTL in seconds of answers with `site`; None stands for answers without a region.

        An answer changes when a relay of its region changes verdict, or when another region gains
        the client because a relay returns there or a slow start advances. A failure in another
        region changes nothing. Probes do not change draining, disabled or unprobed endpoints; a
        forced endpoint changes when the operator's order expires.
        """
        own_s = math.inf if site is None else self._soonest_s((site,))
        certain_s = min(self._service.ttl, own_s, self._gain_s)
        return max(self._service.shortest_ttl, math.floor(certain_s))

    def _soonest_s(self, sites: Iterable[Site]) -> float:
        return min(
            (self._turn_s(each) for site in sites for each in self._endpoints(site)),
            default=math.inf,
        )

    def _endpoints(self, site: Site) -> Sequence[Endpoint]:
        """The endpoints of a site that may have a part in answers."""
        family = self._steering.family
        if family is None:
            return site.endpoints
        return [each for each in site.endpoints if getattr(each, family) is not None]

    def _turn_s(self, endpoint: Endpoint) -> float:
        """Earliest time in seconds at which this endpoint can become available or unavailable."""
        availability = self._candidates_up.availabilities[endpoint.id]
        if not (endpoint.active and endpoint.weight and endpoint.probe):
            return math.inf
        if availability.source == "operator":
            until = endpoint.forced.until if endpoint.forced else None
            return math.inf if until is None else (until - self._steering.now).total_seconds()
        if not (self._measured and availability.accepts_sessions):
            return math.inf
        verdicts = set(availability.families.values()) or {availability.verdict}
        if self._steering.family is not None:
            verdicts = {availability.families.get(self._steering.family, availability.verdict)}
        soonest = min(next_change_s(verdict, endpoint.probe) for verdict in verdicts)
        return min(soonest, self._step_s(endpoint))

    def _doubted_s(self, sites: Sequence[tuple[Site, Sequence[Endpoint]]]) -> float:
        """Seconds until the local vantage starts or stops being trusted for some family.

        It is trusted again once it sees one endpoint up; it stops being trusted once it sees the
        last endpoint down.
        """
        candidates_up, soonest = self._candidates_up, math.inf
        if candidates_up.distrusted:
            endpoints = (each for site, _ in sites for each in self._endpoints(site))
            probes = (each.probe for each in endpoints if each.active)
            soonest = min((next_change_s("down", each) for each in probes if each), default=soonest)
        if any(
            availability.source == "local" for availability in candidates_up.availabilities.values()
        ):
            for family in FAMILIES:
                there = [each for _, up in sites for each in up if getattr(each, family)]
                soonest = min(soonest, max(map(self._turn_s, there), default=math.inf))
        return soonest

    def _step_s(self, endpoint: Endpoint) -> float:
        """Seconds per step of a slow start; infinite for an endpoint at its full share."""
        availability: Availability = self._candidates_up.availabilities[endpoint.id]
        if endpoint.probe is None or not availability.accepts_sessions:
            return math.inf
        return next_step_s(availability.share, endpoint.probe.slow_start_s)


def _may_answer(service: Service, site: Site) -> bool:
    allowed = service.regions is None or site.id in service.regions
    return allowed and site.state is State.ACTIVE and site.weight > 0
