"""Endpoints of a zone's records. Records have ids only here, not in documents."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.access.tokens import OPERATORS, VIEWERS
from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.api.pages import Page, after_name, page_of
from firsthop_controlplane.api.resources import merged, slug
from firsthop_controlplane.errors import not_found
from firsthop_controlplane.store.configuration import RECORDS, new_record
from firsthop_controlplane.store.tables import RecordRow, ZoneRow
from firsthop_steering.plan.model import Slug
from firsthop_zones.model import Record
from firsthop_zones.rdata import domain_name


class RecordEntry(Record):
    """A record with the id that the control plane gave it."""

    id: Slug


def _entry(row: RecordRow) -> RecordEntry:
    values = {name: getattr(row, name) for name in RECORDS.columns()}
    return RecordEntry.model_validate(values | {"id": row.id})


def _apex(calling: Calling) -> str:
    try:
        return domain_name(calling.part("zone"))
    except ValueError:
        raise not_found("there is no zone of this name") from None


async def _zone(session: AsyncSession, apex: str) -> None:
    if await session.get(ZoneRow, apex) is None:
        raise not_found(f"there is no zone {apex}")


async def _row(session: AsyncSession, calling: Calling) -> RecordRow:
    try:
        row = await session.get(RecordRow, slug(calling.part("id")))
    except ValueError:
        row = None
    if row is None or row.zone != _apex(calling):
        raise not_found("the zone has no such record")
    return row


def _shown(row: RecordRow, *, status: int = 200) -> web.Response:
    headers = {"ETag": etag(row.version)}
    if status == 201:
        headers["Location"] = f"/v1/zones/{row.zone}/records/{row.id}"
    return answer(_entry(row), status=status, headers=headers)


async def _list(calling: Calling) -> web.Response:
    page: Page = calling.query
    apex = _apex(calling)
    query = after_name(select(RecordRow).where(RecordRow.zone == apex), RecordRow.id, page)
    async with calling.deps.revisions.session() as session:
        await _zone(session, apex)
        rows = await session.scalars(query)
        items = [(row.id, _entry(row)) for row in rows]
    return page_of(items, page)


async def _create(calling: Calling) -> web.Response:
    apex, record = _apex(calling), calling.read(Record)

    async def add(session: AsyncSession) -> RecordRow:
        await _zone(session, apex)
        row = new_record(apex, record)
        session.add(row)
        return row

    outcome = await calling.deps.revisions.change(add, calling.actor)
    await calling.deps.took_effect()
    return _shown(outcome.value, status=201)


async def _read(calling: Calling) -> web.Response:
    async with calling.deps.revisions.session() as session:
        return _shown(await _row(session, calling))


async def _change(calling: Calling) -> web.Response:
    async def overlay(session: AsyncSession) -> RecordRow:
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), row.version)
        RECORDS.write(row, merged(RecordEntry, _entry(row), calling.patch, "id"))
        return row

    outcome = await calling.deps.revisions.change(overlay, calling.actor)
    await calling.deps.took_effect()
    return _shown(outcome.value)


async def _delete(calling: Calling) -> web.Response:
    async def remove(session: AsyncSession) -> None:
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), row.version)
        await session.delete(row)

    await calling.deps.revisions.change(remove, calling.actor)
    await calling.deps.took_effect()
    return web.Response(status=204)


_MANY, _ONE = "/v1/zones/{zone}/records", "/v1/zones/{zone}/records/{id}"
_TAG: dict[str, Any] = {"tag": "records"}

OPERATIONS = (
    Operation(
        method="GET", path=_MANY, name="list_records", summary="List a zone's records", **_TAG,
        roles=VIEWERS, call=_list, query=Page, answer=RecordEntry, listed=True, refusals=(404,),
    ),
    Operation(
        method="POST", path=_MANY, name="create_records", summary="Make a record", **_TAG,
        roles=OPERATORS, call=_create, body=Record, answer=RecordEntry, status=201, etag=True,
        refusals=(404, 422),
    ),
    Operation(
        method="GET", path=_ONE, name="read_records", summary="One record", **_TAG,
        roles=VIEWERS, call=_read, answer=RecordEntry, etag=True, refusals=(404,),
    ),
    Operation(
        method="PATCH", path=_ONE, name="change_records", summary="Change a record", **_TAG,
        roles=OPERATORS, call=_change, body=Record, partial=True, answer=RecordEntry, etag=True,
        if_match="must", refusals=(404, 422),
    ),
    Operation(
        method="DELETE", path=_ONE, name="delete_records", summary="Delete a record", **_TAG,
        roles=OPERATORS, call=_delete, status=204, if_match="must", refusals=(404,),
    ),
)  # fmt: skip
