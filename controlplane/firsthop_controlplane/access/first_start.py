"""Creates what is missing before the first request: keys, admin token, bootstrap tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.access.keyfiles import read_secret, write_private
from firsthop_controlplane.access.keyring import Keyring, live_keys, token_changed
from firsthop_controlplane.access.tokens import (
    BootstrapToken,
    TokenDraft,
    digest_of,
    entry,
    new_row,
    new_secret,
)
from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.revisions import lock
from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.store.ledger import TokenRow

log = structlog.get_logger(__name__)
STARTER = Actor("first start")
BOOTSTRAP = Actor("bootstrap")


class BadBootstrap(ControlPlaneError):  # noqa: N818
    """Bootstrap tokens conflict with each other, or with those of the store."""


async def first_keys(session: AsyncSession, keyring: Keyring, now: datetime) -> None:
    """Create the first generation of credential keys, if there is none."""
    await lock(session)
    rows = await live_keys(session)
    if not rows:
        await keyring.rotate(session, STARTER, now)
        log.info("keys.created")
    for row in rows:
        keyring.open(row)  # a wrong master key is detected now, not at the first rotation


async def admin_token(session: AsyncSession, file: Path, now: datetime) -> None:
    """Write an admin token to `file`, unless it has one that the store knows.

    The file is written before the commit. A crash between the two leaves a token in the file that
    the store does not know; the next start then writes a new one.
    """
    await lock(session)
    held = read_secret(file)
    if held is not None and await _known(session, held):
        return
    first = await session.scalar(select(TokenRow).where(TokenRow.role == "admin")) is None
    secret = new_secret()
    name = "admin" if first else f"admin-{digest_of(secret).hex()[:8]}"
    if await session.scalar(select(TokenRow).where(TokenRow.name == name)) is not None:
        name = f"admin-{digest_of(secret).hex()[:8]}"
    row = new_row(TokenDraft(name=name, role="admin"), secret, STARTER.name, now)
    session.add(row)
    after = entry(row).model_dump(mode="json")
    await token_changed(session, STARTER, "created", row, now, after=after)
    write_private(file, secret + "\n")
    log.info(
        "admin_token.written",
        file=str(file),
        token=name,
        because="first start" if first else "the file was lost",
    )


async def _known(session: AsyncSession, secret: str) -> bool:
    return (
        await session.scalar(select(TokenRow).where(TokenRow.digest == digest_of(secret)))
        is not None
    )


async def bootstrap(session: AsyncSession, given: Sequence[BootstrapToken], now: datetime) -> None:
    """Upsert the given tokens by name; equal ones are not touched."""
    await lock(session)
    for each in given:
        row = await session.scalar(select(TokenRow).where(TokenRow.name == each.name))
        digest = digest_of(each.secret)
        taken = await session.scalar(select(TokenRow).where(TokenRow.digest == digest))
        if taken is not None and taken is not row:
            raise BadBootstrap(f"{each.name} has the same secret as token {taken.name}")
        await _upsert(session, row, each, now)
    await session.flush()


async def _upsert(
    session: AsyncSession, row: TokenRow | None, given: BootstrapToken, now: datetime
) -> None:
    wanted = (given.role, given.scope, digest_of(given.secret), given.expires_at)
    if row is not None and (row.role, row.scope, row.digest, row.expires_at) == wanted:
        return
    before = None
    if row is None:
        row = new_row(given, given.secret, BOOTSTRAP.name, now)
        session.add(row)
    else:
        before = entry(row).model_dump(mode="json")
        row.role, row.scope, row.digest, row.expires_at = wanted
        row.version += 1
    after = entry(row).model_dump(mode="json")
    action = "created" if before is None else "changed"
    await token_changed(session, BOOTSTRAP, action, row, now, before=before, after=after)
