"""Endpoints of the configured collections: each description of one gives five operations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, create_model
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.access.tokens import OPERATORS, VIEWERS
from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.api.operations import Calling, Forcing, Operation, answer
from firsthop_controlplane.api.pages import Page, after_name, page_of
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.errors import BrokenRule, conflict, invalid, not_found
from firsthop_controlplane.store import configuration
from firsthop_controlplane.store.configuration import Collection
from firsthop_controlplane.store.tables import Configured
from firsthop_zones.model import Model, Zone
from firsthop_zones.rdata import domain_name

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _zone_without_records() -> type[Model]:
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in Zone.model_fields.items()
        if name != "records"
    }
    return create_model(
        "Zone", __base__=Model, __doc__="A zone; the path /records has its records.", **fields
    )


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection and its path."""

    path: str
    noun: str
    collection: Collection
    model: type[Model]
    identify: Callable[[str], str]

    @property
    def key(self) -> str:
        return self.collection.key

    def identity(self, calling: Calling) -> str:
        """The id in the path; raises Refused (404) if it is malformed."""
        try:
            return self.identify(calling.part("id"))
        except ValueError:
            raise not_found(f"there is no {self.noun} of this name") from None

    async def row(self, session: AsyncSession, identity: str) -> Configured:
        row = await session.get(self.collection.row, identity)
        if row is None:
            raise not_found(f"there is no {self.noun} {identity}")
        return row

    def read(self, row: Configured) -> Model:
        values = {name: getattr(row, name) for name in self.collection.columns()}
        return self.model.model_validate(values)

    def shown(self, row: Configured, *, status: int = 200) -> web.Response:
        """A response with the object and its ETag, and its Location if it is new."""
        headers = {"ETag": etag(row.version)}
        if status == 201:
            identity = quote(self.collection.identity(row), safe="")
            headers["Location"] = f"/v1/{self.path}/{identity}"
        return answer(self.read(row), status=status, headers=headers)


def slug(text: str) -> str:
    """An id from a path; raises ValueError if it is malformed."""
    if not _SLUG.fullmatch(text):
        raise ValueError("not a slug")
    return text


RESOURCES = (
    Resource("regions", "region", configuration.REGIONS, configuration.REGIONS.model, slug),
    Resource("relays", "relay", configuration.RELAYS, configuration.RELAYS.model, slug),
    Resource(
        "transceiver-regions",
        "transceiver region",
        configuration.TRANSCEIVER_REGIONS,
        configuration.TRANSCEIVER_REGIONS.model,
        slug,
    ),
    Resource(
        "transceivers",
        "transceiver",
        configuration.TRANSCEIVERS,
        configuration.TRANSCEIVERS.model,
        slug,
    ),
    Resource("zones", "zone", configuration.ZONES, _zone_without_records(), domain_name),
    Resource("services", "service", configuration.SERVICES, configuration.SERVICES.model, slug),
    Resource("overrides", "override", configuration.OVERRIDES, configuration.OVERRIDES.model, slug),
)


def merged(model: type[BaseModel], present: BaseModel, patch: dict[str, Any], key: str) -> Any:
    """The object with a patch applied: to inner objects field by field; null is a value."""
    if key in patch and patch[key] != getattr(present, key):
        raise invalid([BrokenRule(key, "cannot be changed: make a new object")])
    return validated(model, _patched(present.model_dump(mode="json"), patch))


def _patched(present: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(present)
    for name, value in patch.items():
        inner = result.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            result[name] = _patched(inner, value)
        else:
            result[name] = value
    return result


def _lister(resource: Resource) -> Any:
    async def list_all(calling: Calling) -> web.Response:
        page: Page = calling.query
        column = getattr(resource.collection.row, resource.key)
        async with calling.deps.revisions.session() as session:
            rows = await session.scalars(after_name(select(resource.collection.row), column, page))
            items = [(resource.collection.identity(row), resource.read(row)) for row in rows]
        return page_of(items, page)

    return list_all


def _creator(resource: Resource) -> Any:
    async def create(calling: Calling) -> web.Response:
        value = calling.read(resource.model)
        identity = resource.collection.identity(value)

        async def add(session: AsyncSession) -> Configured:
            if await session.get(resource.collection.row, identity) is not None:
                fault = BrokenRule(resource.key, "is taken")
                raise conflict(f"there is a {resource.noun} {identity} already", [fault])
            row = resource.collection.new(value)
            session.add(row)
            return row

        outcome = await calling.deps.revisions.change(add, calling.actor, force=calling.query.force)
        await calling.deps.took_effect()
        return resource.shown(outcome.value, status=201)

    return create


def _reader(resource: Resource) -> Any:
    async def read(calling: Calling) -> web.Response:
        async with calling.deps.revisions.session() as session:
            return resource.shown(await resource.row(session, resource.identity(calling)))

    return read


def _changer(resource: Resource) -> Any:
    async def change(calling: Calling) -> web.Response:
        identity = resource.identity(calling)

        async def overlay(session: AsyncSession) -> Configured:
            row = await resource.row(session, identity)
            require(calling.request.headers.getall("If-Match", []), row.version)
            value = merged(resource.model, resource.read(row), calling.patch, resource.key)
            resource.collection.write(row, value)
            return row

        outcome = await calling.deps.revisions.change(
            overlay, calling.actor, force=calling.query.force
        )
        await calling.deps.took_effect()
        return resource.shown(outcome.value)

    return change


def _deleter(resource: Resource) -> Any:
    async def delete(calling: Calling) -> web.Response:
        identity = resource.identity(calling)

        async def remove(session: AsyncSession) -> None:
            row = await resource.row(session, identity)
            require(calling.request.headers.getall("If-Match", []), row.version)
            if resource.collection is configuration.ZONES:
                await configuration.delete_records(session, identity)
            await session.delete(row)

        await calling.deps.revisions.change(
            remove, calling.actor, removes=True, force=calling.query.force
        )
        await calling.deps.took_effect()
        return web.Response(status=204)

    return delete


def operations_of(resource: Resource) -> list[Operation]:
    """The five operations: list, create, read, change, delete."""
    many, one = f"/v1/{resource.path}", f"/v1/{resource.path}/{{id}}"
    word, noun = resource.collection.name, resource.noun
    reads: dict[str, Any] = {"tag": resource.path, "roles": VIEWERS, "answer": resource.model}
    writes: dict[str, Any] = {"tag": resource.path, "roles": OPERATORS, "query": Forcing}
    return [
        Operation(
            method="GET", path=many, name=f"list_{word}", summary=f"List {noun}s", **reads,
            call=_lister(resource), query=Page, listed=True,
        ),
        Operation(
            method="POST", path=many, name=f"create_{word}", summary=f"Make a {noun}", **writes,
            call=_creator(resource), body=resource.model, answer=resource.model, status=201,
            etag=True, refusals=(409, 422),
        ),
        Operation(
            method="GET", path=one, name=f"read_{word}", summary=f"One {noun}", **reads,
            call=_reader(resource), etag=True, refusals=(404,),
        ),
        Operation(
            method="PATCH", path=one, name=f"change_{word}", summary=f"Change a {noun}", **writes,
            call=_changer(resource), body=resource.model, partial=True, answer=resource.model,
            etag=True, if_match="must", refusals=(404, 409, 422),
        ),
        Operation(
            method="DELETE", path=one, name=f"delete_{word}", summary=f"Delete a {noun}", **writes,
            call=_deleter(resource), status=204, if_match="must", refusals=(404, 409),
        ),
    ]  # fmt: skip
