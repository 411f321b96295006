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
    revoke,
)
from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.revisions import lock
from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.store.ledger import RevokedSecretRow, TokenRow

log = structlog.get_logger(__name__)
STARTER = Actor("first start")
BOOTSTRAP = Actor("bootstrap")


class BadBootstrap(ControlPlaneError):  # noqa: N818
    """Bootstrap tokens conflict with each other."""


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
    """Add the given tokens whose secrets the store never had.

    A token with a new secret replaces the one of the same name. A secret that was deleted or
    replaced stays revoked, and what was changed since a token was added stays as it is.
    """
    await lock(session)
    _check_distinct(given)
    for each in given:
        digest = digest_of(each.secret)
        held = await session.scalar(select(TokenRow).where(TokenRow.digest == digest))
        if held is not None:
            if (held.role, held.scope) != (each.role, each.scope):
                reason = "another role or scope needs another secret"
                log.warning("bootstrap.token_skipped", token=each.name, reason=reason)
        elif (revoked := await session.get(RevokedSecretRow, digest)) is not None:
            reason = f"it was revoked at {revoked.revoked_at:%Y-%m-%d %H:%M:%S} UTC"
            log.info("bootstrap.token_skipped", token=each.name, reason=reason)
        else:
            await _add(session, each, now)
    await session.flush()


def _check_distinct(given: Sequence[BootstrapToken]) -> None:
    names: dict[str, str] = {}
    for each in given:
        other = names.setdefault(each.secret, each.name)
        if other != each.name:
            raise BadBootstrap(f"{each.name} has the same secret as token {other}")


async def _add(session: AsyncSession, given: BootstrapToken, now: datetime) -> None:
    replaced = await session.scalar(select(TokenRow).where(TokenRow.name == given.name))
    if replaced is not None:
        before = entry(replaced).model_dump(mode="json")
        await revoke(session, replaced, now)
        await token_changed(session, BOOTSTRAP, "deleted", replaced, now, before=before)
    row = new_row(given, given.secret, BOOTSTRAP.name, now)
    session.add(row)
    after = entry(row).model_dump(mode="json")
    await token_changed(session, BOOTSTRAP, "created", row, now, after=after)
