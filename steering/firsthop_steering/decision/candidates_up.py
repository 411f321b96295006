"""The endpoints of one pool that answers may name now, and the weights of its sites.

A site is a region of the pool; an endpoint is one of its relays or transceivers. A relay with one
address down is listed without that address. A relay in a slow start has a reduced weight; if all
relays of a site are in a slow start, the site's weight is reduced too, and the remaining clients go
to their next preference. Draining and silent transceivers are not listed. For `when_all_down`, two
further lists have the endpoints that remain if health is ignored, and if drains are ignored too.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from firsthop_steering.decision.availability import (
    FAMILIES,
    Availability,
    availability_of,
    reported_status,
)
from firsthop_steering.decision.topology import Endpoint, Site
from firsthop_steering.feed.snapshot import Status
from firsthop_steering.plan.model import Family, Service, State


@dataclass(frozen=True, slots=True)
class CandidatesUp:
    """Endpoints and weights; each tuple is indexed by the site's position in its pool."""

    up: tuple[tuple[Endpoint, ...], ...]
    """Endpoints that are up, reduced to the addresses that are up, with their current weights."""
    configured: tuple[tuple[Endpoint, ...], ...]
    """Endpoints that operators enabled (active, weight above 0), regardless of health."""
    drained: tuple[tuple[Endpoint, ...], ...]
    """Endpoints that operators did not disable, regardless of health and drains: the last resort.
    Those of weight 0 have weight 1 here."""
    weights: tuple[int, ...]
    """Per cent of the clients reaching a site that the site keeps."""
    availabilities: dict[str, Availability]
    """Endpoint id → its availability."""
    full: tuple[bool, ...]
    """Whether the site has no room for more sessions: its own capacity, or that of each of its
    transceivers that are up, is used."""
    distrusted: frozenset[Family] = frozenset()
    """Families for which the local vantage is ignored because it would leave no endpoint up."""


def candidates_up(
    sites: Sequence[Site],
    status: Status,
    *,
    vantage: str | None,
    now: datetime,
    allowed: Container[str] | None = None,
) -> CandidatesUp:
    """The endpoints of `sites` that are up.

    The views of `vantage` override the verdicts. If they leave no endpoint of an address family up,
    the verdicts apply to that family, so a vantage that is cut off never empties a service. Only
    the sites that operators enabled and whose ids are in `allowed` (None: all) count for this.
    """
    found = _candidates_up(sites, status, vantage, now, frozenset())
    if vantage is None:
        return found
    wanted = [
        index
        for index, site in enumerate(sites)
        if (allowed is None or site.id in allowed)
        and site.state is State.ACTIVE
        and site.weight > 0
    ]
    configured, up = (
        families_of(each for index in wanted for each in layer[index])
        for layer in (found.configured, found.up)
    )
    missed = configured - up
    return _candidates_up(sites, status, vantage, now, missed) if missed else found


def of_family(candidates: CandidatesUp, sites: Sequence[Site], family: Family) -> CandidatesUp:
    """The endpoints of `candidates` with an address of `family`, reduced to that address."""
    up, configured, drained = (
        tuple(tuple(filter(None, (_only(family, each) for each in site))) for site in layer)
        for layer in (candidates.up, candidates.configured, candidates.drained)
    )
    weights = tuple(
        _weight(*each, candidates.availabilities) for each in zip(sites, up, strict=True)
    )
    return replace(candidates, up=up, configured=configured, drained=drained, weights=weights)


def _only(family: Family, endpoint: Endpoint) -> Endpoint | None:
    if getattr(endpoint, family) is None:
        return None
    if family == "ipv4":
        return replace(endpoint, ipv6=None)
    return replace(endpoint, ipv4=None)


def families_differ(candidates: CandidatesUp, sites: Sequence[Site], service: Service) -> bool:
    """Whether some of the regions of `service` lack a family that others of them have.

    Compares the addresses that are up, and those that remain when health and drains are ignored.
    """
    mine = [
        index
        for index, site in enumerate(sites)
        if site.state is not State.DISABLED
        and (service.regions is None or site.id in service.regions)
    ]
    for layer in (candidates.up, candidates.configured, candidates.drained):
        had = [families_of(layer[index]) for index in mine if layer[index]]
        if len(set(had)) > 1:
            return True
    return False


def families_of(endpoints: Iterable[Endpoint]) -> frozenset[Family]:
    """The families in which any endpoint has an address."""
    return frozenset(
        family for each in endpoints for family in FAMILIES if getattr(each, family) is not None
    )


def _candidates_up(
    sites: Sequence[Site],
    status: Status,
    vantage: str | None,
    now: datetime,
    distrusted: frozenset[Family],
) -> CandidatesUp:
    availabilities = {
        each.id: availability_of(
            each,
            reported_status(each, status),
            vantage=vantage,
            now=now,
            distrusted=distrusted,
        )
        for site in sites
        for each in site.endpoints
    }
    configured = tuple(
        tuple(each for each in site.endpoints if each.active and each.weight > 0) for site in sites
    )
    drained = tuple(
        tuple(_with_weight(each) for each in site.endpoints if each.state is not State.DISABLED)
        for site in sites
    )
    up = tuple(
        tuple(filter(None, (_reduced(each, availabilities[each.id]) for each in endpoints)))
        for endpoints in configured
    )
    weights = tuple(
        _weight(site, endpoints, availabilities) for site, endpoints in zip(sites, up, strict=True)
    )
    full = tuple(_full(site, each, status) for site, each in zip(sites, up, strict=True))
    return CandidatesUp(up, configured, drained, weights, availabilities, full, distrusted)


def _with_weight(endpoint: Endpoint) -> Endpoint:
    """A rendezvous draw needs a weight above 0."""
    return endpoint if endpoint.weight else replace(endpoint, weight=1)


def _full(site: Site, up: Sequence[Endpoint], status: Status) -> bool:
    """Whether the region's capacity, or that of every transceiver up, is used completely.

    A transceiver without a known capacity counts as having room.
    """
    if site.capacity is not None:
        carried = (reported_status(each, status).sessions or 0 for each in site.endpoints)
        if sum(carried) >= site.capacity:
            return True
    loads = [reported_status(each, status).load for each in up if each.probe is None]
    return bool(loads) and all(load is not None and load >= 1 for load in loads)


def _reduced(endpoint: Endpoint, availability: Availability) -> Endpoint | None:
    """The endpoint reduced to the addresses that are up; None if none is."""
    ipv4 = endpoint.ipv4 if availability.answers("ipv4") else None
    ipv6 = endpoint.ipv6 if availability.answers("ipv6") else None
    if ipv4 is None and ipv6 is None:
        return None
    if ipv4 is endpoint.ipv4 and ipv6 is endpoint.ipv6 and availability.share == 100:
        return endpoint
    return replace(
        endpoint, ipv4=ipv4, ipv6=ipv6, weight=endpoint.weight * availability.share / 100
    )


def _weight(site: Site, up: Sequence[Endpoint], availabilities: dict[str, Availability]) -> int:
    """The site's weight, times the largest share among its relays if all are in a slow start.

    A returning relay beside an established one does not reduce their region's weight.
    """
    share = max((availabilities[each.id].share for each in up), default=100)
    return site.weight if share == 100 else -(-site.weight * share // 100)
