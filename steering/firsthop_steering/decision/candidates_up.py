"""Who of one pool may be answered with, by one view: of each site its endpoints and its weight.

A relay whose one address is down is listed without that address. A relay that starts slowly has
less weight, and so has a site whose relays all do: the rest of its clients walk on. A transceiver
that drains, or is silent, is not listed.
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
from firsthop_steering.plan.model import Family, State


@dataclass(frozen=True, slots=True)
class CandidatesUp:
    """By the index of each site in its pool."""

    up: tuple[tuple[Endpoint, ...], ...]
    """Those that are up, with the addresses that are, and the weights that they have now."""
    configured: tuple[tuple[Endpoint, ...], ...]
    """Those that operators want, whatever their health."""
    weights: tuple[int, ...]
    """Per cent of clients that each site keeps of those who reach it."""
    availabilities: dict[str, Availability]
    """Of each endpoint by id."""
    full: tuple[bool, ...]
    """Whether a site has no room for more sessions, as its transceivers say."""
    distrusted: frozenset[Family] = frozenset()
    """Of which addresses the vantage here is not believed, as by its word none would be left."""


def candidates_up(
    sites: Sequence[Site],
    status: Status,
    *,
    vantage: str | None,
    now: datetime,
    allowed: Container[str] | None = None,
) -> CandidatesUp:
    """The roster of `sites`. The word of `vantage` goes first, unless by it nobody is left.

    That is seen of each family by itself, among the sites in `allowed` (None: all) that operators
    want: a vantage that is cut off empties no service.
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
    missed = _families(found.configured[index] for index in wanted)
    missed -= _families(found.up[index] for index in wanted)
    return _candidates_up(sites, status, vantage, now, missed) if missed else found


def _families(fields: Iterable[Iterable[Endpoint]]) -> frozenset[Family]:
    """Of which families there is any address."""
    return frozenset(
        family
        for field in fields
        for each in field
        for family in FAMILIES
        if getattr(each, family) is not None
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
    up = tuple(
        tuple(filter(None, (_as_it_is(each, availabilities[each.id]) for each in field)))
        for field in configured
    )
    weights = tuple(
        _weight(site, field, availabilities) for site, field in zip(sites, up, strict=True)
    )
    full = tuple(_full(site, field, status) for site, field in zip(sites, up, strict=True))
    return CandidatesUp(up, configured, weights, availabilities, full, distrusted)


def _full(site: Site, up: Sequence[Endpoint], status: Status) -> bool:
    """Every transceiver that is up has all the sessions that it can carry, or the region has.

    One that does not say what it can carry may have room.
    """
    if site.capacity is not None:
        carried = (reported_status(each, status).sessions or 0 for each in site.endpoints)
        if sum(carried) >= site.capacity:
            return True
    loads = [reported_status(each, status).load for each in up if each.probe is None]
    return bool(loads) and all(load is not None and load >= 1 for load in loads)


def _as_it_is(endpoint: Endpoint, availability: Availability) -> Endpoint | None:
    """The endpoint with the addresses that are up; None when there is none."""
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
    """The site's weight; of one where every relay starts slowly, the largest share of that.

    A relay that comes back beside one that was there takes nothing from their region.
    """
    share = max((availabilities[each.id].share for each in up), default=100)
    return site.weight if share == 100 else -(-site.weight * share // 100)
