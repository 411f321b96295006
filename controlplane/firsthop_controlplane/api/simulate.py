"""The endpoint of simulations: how clients would move under another plan, or without relays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from aiohttp import web

from firsthop_controlplane.access.tokens import VIEWERS
from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.api.steering import (
    GeodataView,
    find_service,
    geodata_view,
    no_geo_data,
)
from firsthop_controlplane.bodies.documents import SimulationRequest
from firsthop_controlplane.errors import BrokenRule, Unavailable, invalid
from firsthop_steering.decision.topology import parse_client
from firsthop_steering.plan.document import Document, problems_in
from firsthop_steering.whatif.simulate import with_lost_relays
from firsthop_steering.whatif.simulation import Simulation
from firsthop_zones.model import Model


class SimulationAnswer(Model):
    """How the clients of each service would move."""

    plan: int
    """The revision that the simulation compares with."""
    status: int
    effects: tuple[Simulation, ...]
    geodata: GeodataView


async def _simulate(calling: Calling) -> web.Response:
    deps, wanted = calling.deps, calling.read(SimulationRequest)
    present = deps.feed.plan
    if deps.explain is None:
        raise no_geo_data()
    if present is None:
        raise Unavailable("no plan has been read yet")
    then = present
    if wanted.document is not None:
        then = deps.change_impact.plan(wanted.document, present.number)
    clients = None
    if wanted.clients is not None:
        clients = await asyncio.to_thread(lambda texts: [*_clients(texts)], wanted.clients)
    faults = [
        *(BrokenRule(each.field, each.rule) for each in problems_in(then.document)),
        *_unknown(wanted, then.document),
        *(each for each in clients or () if isinstance(each, BrokenRule)),
    ]
    if faults:
        raise invalid(faults)
    name = None
    if wanted.service is not None:
        both = (*present.document.services, *then.document.services)
        name = find_service(both, wanted.service).name
    was = deps.change_impact.under(present)
    lost = with_lost_relays(was.status, then, wanted.lost_relays, wanted.lost_regions)
    effects = await deps.change_impact.simulate(
        was,
        replace(was, plan=then, status=lost),
        None if clients is None else [each for each in clients if not isinstance(each, BrokenRule)],
        service=name,
    )
    return answer(
        SimulationAnswer(
            plan=present.number,
            status=was.status.number,
            effects=effects,
            geodata=geodata_view(deps),
        )
    )


def _clients(texts: Iterable[str]) -> Iterator[IPv4Address | IPv6Address | BrokenRule]:
    """Each client, or the rule that it breaks."""
    for index, text in enumerate(texts):
        try:
            yield parse_client(text)
        except ValueError as error:
            yield BrokenRule(f"clients/{index}", str(error))


def _unknown(wanted: SimulationRequest, document: Document) -> Iterator[BrokenRule]:
    """Broken rules: lost regions and relays that are not configured."""
    regions = {each.id for each in document.regions}
    relays = {each.id for each in document.relays}
    for field, names, known in (
        ("lost_regions", wanted.lost_regions, regions),
        ("lost_relays", wanted.lost_relays, relays),
    ):
        for index, name in enumerate(names):
            if name not in known:
                yield BrokenRule(f"{field}/{index}", f"names no {field[5:-1]}: {name}")


OPERATIONS = (
    Operation(
        method="POST", path="/v1/simulate", name="simulate", tag="steering", roles=VIEWERS,
        summary="How clients would move under another plan, or without some relays",
        call=_simulate, body=SimulationRequest, large=True, answer=SimulationAnswer,
        refusals=(404, 422, 501, 503),
    ),
)  # fmt: skip
