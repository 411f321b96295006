"""What edges are told now, and why a client would be sent where."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web
from pydantic import Field

from firsthop_controlplane.api.operations import Calling, Operation, Query, answer, answer_json
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import Fault, Refused, Unavailable, malformed, not_found
from firsthop_controlplane.tokens import VIEWERS
from firsthop_steering.document import Document
from firsthop_steering.model import Forced, Model, Service, Slug
from firsthop_steering.rdata import domain_name
from firsthop_steering.snapshot import Status


class ExplainQuery(Query):
    """Whose question is to be explained."""

    service: str = Field(min_length=1, max_length=254)
    """A service's id, or its name."""
    client: str = Field(min_length=1, max_length=64)
    """An address or a prefix."""
    vantage: Slug | None = None
    """The place of the edge that answers, for services whose view is local."""


class LeaderView(Model):
    """Who leads, as this control plane knows it."""

    here: bool
    """Whether it leads itself."""
    url: str
    """Where the leader is; empty while that is not known."""
    term: int | None
    """Rises with every leader; status numbers are made of it."""
    lease_age_s: float | None
    """Seconds since the leader renewed its lease."""
    followed: bool
    """Whether this control plane hears the leader: its own word, or an open stream."""


class StatusAnswer(Status):
    """What edges are told, who made it, and what operators say instead."""

    leader: LeaderView
    forced: dict[Slug, Forced] = Field(default_factory=dict)
    """Operators' words that are in force: they go before what is measured and reported."""


def leader_view(deps: Deps) -> LeaderView:
    """Who leads, how long ago it said so, and whether it is heard here."""
    election, age_s = deps.election, deps.election.lease_age_s()
    lease = election.lease
    return LeaderView(
        here=election.leads,
        url=lease.url if lease else "",
        term=lease.term if lease else None,
        lease_age_s=None if age_s is None else round(age_s, 3),
        followed=election.leads or bool(deps.peers.connected_to),
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
    return answer(StatusAnswer.model_construct(**dict(status), leader=leader, forced=forced))


async def _explain(calling: Calling) -> web.Response:
    deps, query = calling.deps, calling.query
    plan, status = deps.feed.plan, deps.feed.status
    if deps.explain is None:
        detail = "This control plane was started without geo data."
        raise Refused(501, "not-implemented", "Not Implemented", detail)
    if plan is None or status is None:
        raise Unavailable("no plan has been read yet")
    service = find_service(plan.document, query.service)
    try:
        explained = await asyncio.to_thread(
            deps.explain,
            plan, status, service.id, query.client, query.vantage, deps.feed.guidance,
        )  # fmt: skip
    except ValueError as error:
        raise malformed(f"client: {error}", [Fault("client", str(error))]) from None
    return answer_json(dict(explained))


def find_service(document: Document, word: str) -> Service:
    """The service of this id or name; Refused (404) when there is none."""
    names = {word}
    with contextlib.suppress(ValueError):
        names.add(domain_name(word))
    for service in document.services:
        if service.id == word or service.name in names:
            return service
    raise not_found(f"there is no service {word}")


_OBJECT: dict[str, Any] = {"type": "object", "description": "The decision, with every candidate."}

OPERATIONS = (
    Operation(
        method="GET", path="/v1/status", name="status", tag="steering", roles=VIEWERS,
        summary="What is measured of every relay, and who leads", call=_status,
        answer=StatusAnswer, refusals=(503,),
    ),
    Operation(
        method="GET", path="/v1/explain", name="explain", tag="steering", roles=VIEWERS,
        summary="Why a client is sent where it is sent", call=_explain, query=ExplainQuery,
        answer=_OBJECT, refusals=(404, 501, 503),
    ),
)  # fmt: skip
