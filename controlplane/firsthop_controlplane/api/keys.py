"""Endpoints of credential keys: list, rotate, undo, retire. They never return secrets."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.access.keyring import KeyEntry, KeyPatch, key_entry, live_keys
from firsthop_controlplane.access.tokens import ADMINS
from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.api.pages import Page, page_of
from firsthop_controlplane.configuration.revisions import lock
from firsthop_controlplane.errors import BrokenRule, invalid, malformed, not_found
from firsthop_controlplane.store.ledger import KeyRow
from firsthop_zones.model import Model


class KeyDraft(Model):
    """An empty body: the control plane generates the secrets and the id."""


async def _row(session: AsyncSession, calling: Calling) -> KeyRow:
    text = calling.part("id")
    if text.isascii() and text.isdecimal() and len(text) <= 2:
        query = select(KeyRow).where(KeyRow.id == int(text), KeyRow.retired_at.is_(None))
        row = await session.scalar(query)
        if row is not None:
            return row
    raise not_found("there is no such key")


def _shown(row: KeyRow, *, status: int = 200) -> web.Response:
    headers = {"ETag": etag(_version(row))}
    if status == 201:
        headers["Location"] = f"/v1/keys/{row.id}"
    return answer(key_entry(row), status=status, headers=headers)


def _version(row: KeyRow) -> int:
    """Includes the generation, because ids are reused after 64 rotations."""
    return row.generation * 1_000_000 + row.version


async def _list(calling: Calling) -> web.Response:
    page: Page = calling.query
    async with calling.deps.revisions.session() as session:
        rows = await live_keys(session)
    if page.cursor is not None and not page.cursor.isdecimal():
        raise malformed("cursor: use the next_cursor of the last page.")
    start = int(page.cursor[:3]) if page.cursor else 0
    items = [(str(start + n), key_entry(row)) for n, row in enumerate(rows[start:], start=1)]
    return page_of(items[: page.limit + 1], page)


async def _read(calling: Calling) -> web.Response:
    async with calling.deps.revisions.session() as session:
        return _shown(await _row(session, calling))


async def _rotate(calling: Calling) -> web.Response:
    calling.read(KeyDraft)
    deps = calling.deps
    async with deps.revisions.session() as session, session.begin():
        row = await deps.keyring.rotate(session, calling.actor, deps.now())
    await deps.took_effect()
    return _shown(row, status=201)


async def _change(calling: Calling) -> web.Response:
    patch, deps = calling.read(KeyPatch), calling.deps
    if not patch.signing:
        raise invalid(
            [BrokenRule("signing", "cannot be set to false: make another key the signing one")]
        )
    async with deps.revisions.session() as session, session.begin():
        await lock(session)
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), _version(row))
        await deps.keyring.sign_with(session, row, calling.actor, deps.now())
    await deps.took_effect()
    return _shown(row)


async def _retire(calling: Calling) -> web.Response:
    deps = calling.deps
    async with deps.revisions.session() as session, session.begin():
        await lock(session)
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), _version(row))
        await deps.keyring.retire(session, row, calling.actor, deps.now())
    await deps.took_effect()
    return web.Response(status=204)


_MANY, _ONE = "/v1/keys", "/v1/keys/{id}"

OPERATIONS = (
    Operation(
        method="GET", path=_MANY, name="list_keys", tag="keys", roles=ADMINS,
        summary="List credential keys, without their secrets", call=_list, query=Page,
        answer=KeyEntry, listed=True,
    ),
    Operation(
        method="POST", path=_MANY, name="create_keys", tag="keys", roles=ADMINS,
        summary="Rotate: a new key signs, the others stay valid", call=_rotate, body=KeyDraft,
        answer=KeyEntry, status=201, etag=True, refusals=(409,),
    ),
    Operation(
        method="GET", path=_ONE, name="read_keys", tag="keys", roles=ADMINS,
        summary="One key, without its secrets", call=_read, answer=KeyEntry, etag=True,
        refusals=(404,),
    ),
    Operation(
        method="PATCH", path=_ONE, name="change_keys", tag="keys", roles=ADMINS,
        summary="Sign with this key, to undo a rotation", call=_change, body=KeyPatch,
        answer=KeyEntry, etag=True, if_match="must", refusals=(404, 422),
    ),
    Operation(
        method="DELETE", path=_ONE, name="delete_keys", tag="keys", roles=ADMINS,
        summary="Retire a key: its credentials are refused from then on", call=_retire, status=204,
        if_match="must", refusals=(404, 409),
    ),
)  # fmt: skip
