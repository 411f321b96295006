"""What would become of clients under another plan, or without some relays; changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from aiohttp import web
from pydantic import Field

from firsthop_controlplane.access.tokens import VIEWERS
from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.api.steering import find_service, no_geo_data
from firsthop_controlplane.errors import BrokenRule, Unavailable, invalid
from firsthop_steering.decision.topology import parse_client
from firsthop_steering.plan.document import Document, problems_in
from firsthop_steering.plan.model import Slug
from firsthop_steering.whatif.simulate import taken_as_lost
from firsthop_steering.whatif.simulation import Simulation
from firsthop_zones.model import Model

MAX_CLIENTS = 100_000


class Supposed(Model):
    """What is supposed, beside what is; and whom it is asked for."""

    document: Document | None = None
    """The whole configuration as it would be; null: as it is."""
    lost_regions: tuple[Slug, ...] = ()
    """Regions whose relays are taken as down."""
    lost_relays: tuple[Slug, ...] = ()
    service: str | None = Field(default=None, min_length=1, max_length=254)
    """A service's id, or its name; null: each."""
    clients: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] | None = Field(
        default=None, min_length=1, max_length=MAX_CLIENTS
    )
    """Addresses, or prefixes by their first address, which count once each; null: every address
    that has a place. An empty list would find that nothing moves, and is refused."""


class Foreseen(Model):
    """What becomes of the clients of each service."""

    plan: int
    """The revision that it is compared with."""
    status: int
    effects: tuple[Simulation, ...]


async def _simulate(calling: Calling) -> web.Response:
    deps, supposed = calling.deps, calling.read(Supposed)
    present = deps.feed.plan
    if deps.explain is None:
        raise no_geo_data()
    if present is None:
        raise Unavailable("no plan has been read yet")
    then = present
    if supposed.document is not None:
        then = deps.foresight.plan(supposed.document, present.number)
    clients = None
    if supposed.clients is not None:
        clients = await asyncio.to_thread(lambda texts: [*_clients(texts)], supposed.clients)
    faults = [
        *(BrokenRule(each.field, each.rule) for each in problems_in(then.document)),
        *_unknown(supposed, then.document),
        *(each for each in clients or () if isinstance(each, BrokenRule)),
    ]
    if faults:
        raise invalid(faults)
    name = None
    if supposed.service is not None:
        both = (*present.document.services, *then.document.services)
        name = find_service(both, supposed.service).name
    was = deps.foresight.under(present)
    lost = taken_as_lost(was.status, then, supposed.lost_relays, supposed.lost_regions)
    effects = await deps.foresight.simulate(
        was,
        replace(was, plan=then, status=lost),
        None if clients is None else [each for each in clients if not isinstance(each, BrokenRule)],
        service=name,
    )
    return answer(Foreseen(plan=present.number, status=was.status.number, effects=effects))


def _clients(texts: Iterable[str]) -> Iterator[IPv4Address | IPv6Address | BrokenRule]:
    """Each client, or what is wrong with it."""
    for place, text in enumerate(texts):
        try:
            yield parse_client(text)
        except ValueError as error:
            yield BrokenRule(f"clients/{place}", str(error))


def _unknown(supposed: Supposed, document: Document) -> Iterator[BrokenRule]:
    """What is taken as lost must be there to lose."""
    regions = {each.id for each in document.regions}
    relays = {each.id for each in document.relays}
    for field, names, known in (
        ("lost_regions", supposed.lost_regions, regions),
        ("lost_relays", supposed.lost_relays, relays),
    ):
        for place, name in enumerate(names):
            if name not in known:
                yield BrokenRule(f"{field}/{place}", f"names no {field[5:-1]}: {name}")


OPERATIONS = (
    Operation(
        method="POST", path="/v1/simulate", name="simulate", tag="steering", roles=VIEWERS,
        summary="What would become of clients under another plan, or without some relays",
        call=_simulate, body=Supposed, large=True, answer=Foreseen, refusals=(404, 422, 501, 503),
    ),
)  # fmt: skip
