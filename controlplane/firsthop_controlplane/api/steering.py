"""Endpoints of the present status, and of explanations of decisions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web
from pydantic import AwareDatetime, Field

from firsthop_controlplane.access.tokens import VIEWERS
from firsthop_controlplane.api.moments import Moment, moment
from firsthop_controlplane.api.operations import (
    Calling,
    Operation,
    QueryParameters,
    answer,
    answer_json,
)
from firsthop_controlplane.configuration.situation import Situation
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import BrokenRule, Refused, Unavailable, malformed, not_found
from firsthop_steering.decision.fairness_now import endangered
from firsthop_steering.feed.reports import RelayReport, TransceiverReport
from firsthop_steering.feed.snapshot import Status
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Family, Forced, Service, Slug
from firsthop_zones.model import Model
from firsthop_zones.rdata import domain_name


class ExplainQuery(QueryParameters):
    """Which decision to explain."""

    service: str = Field(min_length=1, max_length=254)
    """A service's id or name."""
    client: str = Field(min_length=1, max_length=64)
    """An address or a prefix."""
    vantage: Slug | None = None
    """The vantage of the answering edge, for services with a local view."""
    family: Family | None = None
    """The family of the addresses that the client asks for (A or AAAA), for services that steer
    families separately; null: that of the client."""
    want: Slug | None = None
    """A region: explain what would send the client to it."""
    at: str | None = Field(default=None, min_length=1, max_length=64)
    """A past time (RFC 3339), or a revision's number for the time when it was made."""


class Warned(Model):
    """A part of the configuration that is accepted but is probably a mistake."""

    field: str
    """Its path, like `zones/edge.example./name_servers`."""
    rule: str


class LeaderView(Model):
    """The leader, as this control plane knows it."""

    here: bool
    """Whether this control plane leads."""
    url: str
    """The leader's URL; empty while it is not known."""
    term: int | None
    """Rises with every leader; the leader's status numbers start from it."""
    lease_age_s: float | None
    """Seconds since the leader renewed its lease."""
    followed: bool
    """Whether this control plane leads, or receives the leader's stream."""


class StatusAnswer(Status):
    """The published status, its leader, and the verdicts that operators force."""

    leader: LeaderView
    forced: dict[Slug, Forced] = Field(default_factory=dict)
    """Verdicts that operators force now: they override measurements and reports."""
    reports: dict[Slug, RelayReport] = Field(default_factory=dict)
    """The last report of each relay's agent; empty on replicas that do not lead."""
    transceiver_reports: dict[Slug, TransceiverReport] = Field(default_factory=dict)
    """The last report of each transceiver; empty on replicas that do not lead."""
    certificates: dict[Slug, AwareDatetime] = Field(default_factory=dict)
    """When certificates of relays probed with tls expire: the earliest expiry of each relay's
    addresses; empty on replicas that do not lead."""
    warnings: tuple[Warned, ...] = ()
    """Services that have fewer failure domains up than their min_candidates."""


def leader_view(deps: Deps) -> LeaderView:
    """The leader, the age of its lease, and whether this control plane follows it."""
    leadership, age_s = deps.leadership, deps.leadership.lease_age_s()
    lease = leadership.lease
    return LeaderView(
        here=leadership.leads,
        url=lease.url if lease else "",
        term=lease.term if lease else None,
        lease_age_s=None if age_s is None else round(age_s, 3),
        followed=leadership.leads or bool(deps.peers.connected_to),
    )


async def _status(calling: Calling) -> web.Response:
    deps, now = calling.deps, calling.deps.now()
    plan, status = deps.feed.plan, deps.feed.status
    if status is None:
        raise Unavailable("no status has been made yet")
    forced = {
        relay.id: relay.forced
        for relay in (plan.document.relays if plan else ())
        if relay.forced is not None and relay.forced.active(now)
    }
    leader = leader_view(deps)
    reports, transceiver_reports, ends = _unpublished(deps, status) if leader.here else ({}, {}, {})
    found = endangered(plan, status, now) if plan else ()
    return answer(
        StatusAnswer.model_construct(
            **dict(status),
            leader=leader,
            forced=forced,
            reports=reports,
            transceiver_reports=transceiver_reports,
            certificates=ends,
            warnings=tuple(Warned(field=each.field, rule=each.rule) for each in found),
        )
    )


def _unpublished(
    deps: Deps, status: Status
) -> tuple[dict[Slug, RelayReport], dict[Slug, TransceiverReport], dict[Slug, datetime]]:
    """Last reports of agents and transceivers, and expiries of certificates; edges get none."""
    health = deps.health
    ends = {name: health.evaluator.certificate_ends(name) for name in status.relays}
    return (
        {name: each.report for name, each in sorted(health.agents.received.items())},
        {name: each.report for name, each in sorted(health.transceivers.reports.received.items())},
        {name: each for name, each in ends.items() if each is not None},
    )


class GeodataView(Model):
    """Which geo data this control plane explains with, and which its edges answer with."""

    digest: str
    """Of this control plane's; empty if it was started without."""
    edges: dict[str, int]
    """The number of edges that follow this control plane, by the digest of their geo data."""
    warning: str
    """Why edges may answer otherwise than is said here; empty if all have the same geo data."""


def geodata_view(deps: Deps) -> GeodataView:
    """The geo data here and at the edges that are connected to this control plane."""
    edges = deps.feed.geodata()
    others = sum(count for digest, count in edges.items() if digest != deps.geodata)
    warning = ""
    if others:
        warning = (
            f"{others} of {sum(edges.values())} edges here have other geo data than this control "
            "plane, so they may locate clients elsewhere: give all the same databases"
        )
    return GeodataView(digest=deps.geodata, edges=edges, warning=warning)


async def _explain(calling: Calling) -> web.Response:
    deps, query = calling.deps, calling.query
    if deps.explain is None:
        raise no_geo_data()
    if query.at is None:
        return answer_json(await _explained(calling, _present(deps)))
    async with deps.past_lock:
        then = await moment(deps, query.at)
        explanation = await _explained(calling, _past(deps, then))
    number = "unknown" if then.status is None else then.status.number
    return answer_json({**explanation, "at": then.to_json(), "status": number})


async def _explained(calling: Calling, situation: Situation) -> dict[str, Any]:
    deps, query = calling.deps, calling.query
    assert deps.explain is not None
    document = situation.plan.document
    service = find_service(document.services, query.service)
    if query.want is not None:
        _check_wanted(document, service, query.want)
    explain = partial(deps.explain, want=query.want, family=query.family)
    try:
        found = await asyncio.to_thread(explain, situation, service.id, query.client, query.vantage)
    except ValueError as error:
        raise malformed(f"client: {error}", [BrokenRule("client", str(error))]) from None
    return {**found, "geodata": geodata_view(deps).model_dump()}


def _present(deps: Deps) -> Situation:
    plan, status = deps.feed.plan, deps.feed.status
    if plan is None or status is None:
        raise Unavailable("no plan has been read yet")
    return Situation(plan, status, deps.now(), deps.feed.guidance)


def _past(deps: Deps, then: Moment) -> Situation:
    """The past situation; parts that are not known are omitted, as present ones would mislead."""
    status = then.status or deps.change_impact.empty_status()
    return Situation(then.plan, status, then.time, then.guidance)


def _check_wanted(document: Document, service: Service, want: str) -> None:
    regions = document.regions if service.pool == "relays" else document.transceiver_regions
    if want not in {each.id for each in regions}:
        rule = f"names no region of the pool of {service.id}"
        raise malformed(f"want: {rule}", [BrokenRule("want", rule)])


def no_geo_data() -> Refused:
    """501: clients cannot be located."""
    detail = "This control plane was started without geo data."
    return Refused(501, "not-implemented", detail)


def find_service(services: Iterable[Service], id_or_name: str) -> Service:
    """The service with this id or name; raises Refused (404) if there is none."""
    names = {id_or_name}
    with contextlib.suppress(ValueError):
        names.add(domain_name(id_or_name))
    for service in services:
        if service.id == id_or_name or service.name in names:
            return service
    raise not_found(f"there is no service {id_or_name}")


_OBJECT: dict[str, Any] = {"type": "object", "description": "The decision, with every candidate."}

OPERATIONS = (
    Operation(
        method="GET", path="/v1/status", name="status", tag="steering", roles=VIEWERS,
        summary="The status of every relay and transceiver, and the leader", call=_status,
        answer=StatusAnswer, refusals=(503,),
    ),
    Operation(
        method="GET", path="/v1/explain", name="explain", tag="steering", roles=VIEWERS,
        summary="Explain why a client gets its answer", call=_explain, query=ExplainQuery,
        answer=_OBJECT, refusals=(404, 501, 503),
    ),
)  # fmt: skip
