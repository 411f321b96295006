"""Services with fewer failure domains up than `min_candidates` requires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from firsthop_steering.decision.candidates_up import candidates_up
from firsthop_steering.decision.topology import pool_sites
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.fairness import DomainLocation, short_of
from firsthop_steering.plan.model import State
from firsthop_zones.faults import DocumentFault


def endangered(plan: Plan, status: Status, now: datetime) -> Iterator[DocumentFault]:
    """One fault per service and client group; see `firsthop_steering.plan.fairness`."""
    overrides = [each for each in plan.document.overrides if each.active(now)]
    for service in plan.document.services:
        if service.min_candidates == 1:
            continue
        sites = pool_sites(plan, service.answer_pool)
        up = candidates_up(sites, status, vantage=None, now=now).up
        locations = [
            DomainLocation(site.id, each.domain)
            for site, endpoints in zip(sites, up, strict=True)
            if site.state is State.ACTIVE and site.weight > 0
            for each in endpoints
        ]
        ids = [site.id for site in sites]
        yield from short_of(service, overrides, ids, locations, "there are now")
