"""Endpoints of tokens: a secret is returned once, and the last admin token cannot be deleted."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.access.keyring import token_changed
from firsthop_controlplane.access.token_use import ACCEPTED
from firsthop_controlplane.access.tokens import (
    ADMINS,
    Role,
    TokenCreated,
    TokenDraft,
    TokenEntry,
    UsedToken,
    entry,
    new_row,
    new_secret,
    revoke,
)
from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.api.operations import Calling, Operation, QueryParameters, answer
from firsthop_controlplane.api.pages import Page, after_name, page_of
from firsthop_controlplane.api.resources import merged, slug
from firsthop_controlplane.configuration.revisions import lock
from firsthop_controlplane.errors import BrokenRule, conflict, invalid, not_found
from firsthop_controlplane.store.ledger import TokenRow
from firsthop_steering.plan.model import AwareTime
from firsthop_zones.model import Model


class TokenPatch(Model):
    """The fields of a token that may change; another role needs another token."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[!-~]([ -~]*[!-~])?$")
    expires_at: AwareTime | None = None


async def _row(session: AsyncSession, calling: Calling) -> TokenRow:
    try:
        row = await session.get(TokenRow, slug(calling.part("id")))
    except ValueError:
        row = None
    if row is None:
        raise not_found("there is no such token")
    return row


def _shown(row: TokenRow) -> web.Response:
    return answer(entry(row), headers={"ETag": etag(row.version)})


async def _with_use(
    session: AsyncSession, calling: Calling, rows: Sequence[TokenRow]
) -> list[UsedToken]:
    uses = await calling.deps.token_uses.of(session, [row.id for row in rows])
    found = []
    for row in rows:
        own = uses.get(row.id, {})
        found.append(
            UsedToken.model_construct(
                **dict(entry(row)),
                last_used_at=max((use.last_at for use in own.values()), default=None),
                uses=own[ACCEPTED].times if ACCEPTED in own else 0,
                refusals={name: use.times for name, use in sorted(own.items()) if name != ACCEPTED},
            )
        )
    return found


async def _unique_name(session: AsyncSession, name: str, but: str = "") -> None:
    query = select(TokenRow).where(TokenRow.name == name, TokenRow.id != but)
    if await session.scalar(query) is not None:
        raise conflict(f"there is a token {name} already", [BrokenRule("name", "is taken")])


async def _an_admin_stays(session: AsyncSession, calling: Calling) -> None:
    """Raises Refused (409) if no valid admin token would be left after the commit."""
    await session.flush()
    now = calling.deps.now()
    admins = await session.scalars(select(TokenRow).where(TokenRow.role == "admin"))
    if not any(row.expires_at is None or row.expires_at > now for row in admins):
        raise conflict("this is the last admin token: make another one first")


async def _list(calling: Calling) -> web.Response:
    page: Page = calling.query
    async with calling.deps.revisions.session() as session:
        rows = (await session.scalars(after_name(select(TokenRow), TokenRow.id, page))).all()
        return page_of([(each.id, each) for each in await _with_use(session, calling, rows)], page)


async def _read(calling: Calling) -> web.Response:
    async with calling.deps.revisions.session() as session:
        row = await _row(session, calling)
        (shown,) = await _with_use(session, calling, [row])
        return answer(shown, headers={"ETag": etag(row.version)})


async def _create(calling: Calling) -> web.Response:
    draft, secret = calling.read(TokenDraft), new_secret()
    now = calling.deps.now()
    if draft.expires_at is not None and draft.expires_at <= now:
        raise invalid([BrokenRule("expires_at", "is in the past")])
    async with calling.deps.revisions.session() as session, session.begin():
        await lock(session)
        await _unique_name(session, draft.name)
        row = new_row(draft, secret, calling.actor.name, now)
        session.add(row)
        after = entry(row).model_dump(mode="json")
        await token_changed(session, calling.actor, "created", row, now, after=after)
    await calling.deps.took_effect()
    created = TokenCreated.model_construct(**dict(entry(row)), secret=secret)
    headers = {"ETag": etag(row.version), "Location": f"/v1/tokens/{row.id}"}
    return answer(created, status=201, headers=headers)


async def _change(calling: Calling) -> web.Response:
    async with calling.deps.revisions.session() as session, session.begin():
        await lock(session)
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), row.version)
        before = entry(row).model_dump(mode="json")
        present = TokenPatch(name=row.name, expires_at=row.expires_at)
        wanted: TokenPatch = merged(TokenPatch, present, calling.patch, "")
        await _unique_name(session, wanted.name, but=row.id)
        if wanted != present:
            row.name, row.expires_at = wanted.name, wanted.expires_at
            row.version += 1
            await _an_admin_stays(session, calling)
            after = entry(row).model_dump(mode="json")
            now = calling.deps.now()
            await token_changed(
                session, calling.actor, "changed", row, now, before=before, after=after
            )
    await calling.deps.took_effect()
    return _shown(row)


async def _delete(calling: Calling) -> web.Response:
    async with calling.deps.revisions.session() as session, session.begin():
        await lock(session)
        row = await _row(session, calling)
        require(calling.request.headers.getall("If-Match", []), row.version)
        before, now = entry(row).model_dump(mode="json"), calling.deps.now()
        await revoke(session, row, now)
        await _an_admin_stays(session, calling)
        await token_changed(session, calling.actor, "deleted", row, now, before=before)
    await calling.deps.took_effect()
    return web.Response(status=204)


class RoleQuery(QueryParameters):
    """Query parameters of the revocation of several tokens."""

    role: Role
    """All tokens of this role are revoked; of role admin, all but the caller's."""


class RevokedTokens(Model):
    """The names of the tokens that were revoked."""

    revoked: tuple[str, ...]


async def _delete_all(calling: Calling) -> web.Response:
    role, caller = calling.query.role, calling.principal
    async with calling.deps.revisions.session() as session, session.begin():
        await lock(session)
        query = select(TokenRow).where(TokenRow.role == role).order_by(TokenRow.name)
        rows = [
            row
            for row in await session.scalars(query)
            if role != "admin" or caller is None or row.id != caller.id
        ]
        now = calling.deps.now()
        for row in rows:
            before = entry(row).model_dump(mode="json")
            await revoke(session, row, now)
            await token_changed(session, calling.actor, "deleted", row, now, before=before)
        await _an_admin_stays(session, calling)
    await calling.deps.took_effect()
    return answer(RevokedTokens(revoked=tuple(row.name for row in rows)))


_MANY, _ONE = "/v1/tokens", "/v1/tokens/{id}"

OPERATIONS = (
    Operation(
        method="GET", path=_MANY, name="list_tokens", tag="tokens", roles=ADMINS,
        summary="List tokens and their use, without their secrets", call=_list, query=Page,
        answer=UsedToken,
        listed=True,
    ),
    Operation(
        method="POST", path=_MANY, name="create_tokens", tag="tokens", roles=ADMINS,
        summary="Make a token; its secret is returned only here", call=_create, body=TokenDraft,
        answer=TokenCreated, status=201, etag=True, refusals=(409, 422),
    ),
    Operation(
        method="GET", path=_ONE, name="read_tokens", tag="tokens", roles=ADMINS,
        summary="One token and its use, without its secret", call=_read, answer=UsedToken,
        etag=True, refusals=(404,),
    ),
    Operation(
        method="PATCH", path=_ONE, name="change_tokens", tag="tokens", roles=ADMINS,
        summary="Rename a token, or set its expiry", call=_change, body=TokenPatch, partial=True,
        answer=TokenEntry, etag=True, if_match="must", refusals=(404, 409, 422),
    ),
    Operation(
        method="DELETE", path=_ONE, name="delete_tokens", tag="tokens", roles=ADMINS,
        summary="Revoke a token", call=_delete, status=204, if_match="must", refusals=(404, 409),
    ),
    Operation(
        method="DELETE", path=_MANY, name="delete_all_tokens", tag="tokens", roles=ADMINS,
        summary="Revoke all tokens of a role", call=_delete_all, query=RoleQuery,
        answer=RevokedTokens, refusals=(409,),
    ),
)  # fmt: skip
