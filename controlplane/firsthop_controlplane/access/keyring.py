"""The credential keys: encrypted in the store, decrypted in memory, rotated by generation.

The cipher is AES-256-GCM with the master key, which is in a file and never in the store. It
authenticates each key's generation too, so that rows cannot be exchanged.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AwareDatetime, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.revisions import audit, lock, notify
from firsthop_controlplane.errors import ControlPlaneError, conflict
from firsthop_controlplane.store.ledger import KeyRow, StoreRow, TokenRow
from firsthop_steering.feed.snapshot import CredentialKey, KeySet
from firsthop_zones.model import Model

KEY_IDS = 64
"""Number of key ids: a ufrag has 6 bits for one."""
_NONCE_BYTES = 12
ALLOCATOR = "allocator"
"""The role whose tokens edges verify themselves."""


class KeysCannotBeOpened(ControlPlaneError):  # noqa: N818
    """The store's keys were encrypted with another master key."""


class KeyEntry(Model):
    """A key generation without its secrets."""

    id: int = Field(ge=0, le=63)
    signing: bool
    created_at: AwareDatetime
    created_by: str


class KeyPatch(Model):
    """The body of a request to sign new credentials with this generation."""

    signing: bool


class Keyring:
    """Reads and changes the key table; `master` is 32 bytes."""

    def __init__(self, master: bytes) -> None:
        self._cipher = AESGCM(master)

    def seal(self, generation: int, route: str, password: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = json.dumps({"route": route, "password": password}).encode()
        return nonce + self._cipher.encrypt(nonce, text, _context(generation))

    def open(self, row: KeyRow) -> CredentialKey:
        """Decrypt the key of a row in force; raises KeysCannotBeOpened if it cannot."""
        sealed = row.sealed or b""
        try:
            text = self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _context(row.generation)
            )
        except (InvalidTag, ValueError):
            raise KeysCannotBeOpened(
                f"key {row.id} of the store was sealed with another master key: put the"
                " master.key that belongs to this database back into the state folder"
            ) from None
        return CredentialKey(id=row.id, created_at=row.created_at, **json.loads(text))

    async def load(self, session: AsyncSession) -> KeySet | None:
        """The keys in force, oldest first; None if there are none yet."""
        store = await store_row(session)
        rows = await live_keys(session)
        signing = [row.id for row in rows if row.signing]
        if not signing:
            return None
        return KeySet(
            number=store.keys_number,
            lineage=store.lineage,
            created_at=store.keys_changed_at,
            signing=signing[0],
            keys=tuple(self.open(row) for row in rows),
            allocator_tokens=await _allocator_tokens(session),
        )

    async def rotate(self, session: AsyncSession, actor: Actor, now: datetime) -> KeyRow:
        """Add a generation that signs from now on; the older ones stay valid."""
        await lock(session)
        rows = await live_keys(session)
        generation = (await session.scalar(select(func.max(KeyRow.generation))) or 0) + 1
        key_id = await _next_id(session, {row.id for row in rows})
        await _no_signer(session, rows)
        row = KeyRow(
            generation=generation,
            id=key_id,
            sealed=self.seal(generation, secrets.token_hex(32), secrets.token_hex(32)),
            signing=True,
            created_at=now,
            created_by=actor.name,
            version=1,
        )
        session.add(row)
        await _changed(session, actor, "created", row, now)
        return row

    async def sign_with(
        self, session: AsyncSession, row: KeyRow, actor: Actor, now: datetime
    ) -> None:
        """Make `row` the signing key, for example to undo a rotation."""
        if row.signing:
            return
        await _no_signer(session, await live_keys(session))
        row.signing, row.version = True, row.version + 1
        await _changed(session, actor, "changed", row, now)

    async def retire(self, session: AsyncSession, row: KeyRow, actor: Actor, now: datetime) -> None:
        """Retire `row`: it is no longer accepted, and its secrets are deleted."""
        if row.signing:
            raise conflict(f"key {row.id} signs new credentials: rotate first")
        row.sealed, row.retired_at = None, now
        await _changed(session, actor, "deleted", row, now)


async def _allocator_tokens(session: AsyncSession) -> dict[str, datetime | None]:
    rows = await session.scalars(
        select(TokenRow).where(TokenRow.role == ALLOCATOR).order_by(TokenRow.digest)
    )
    return {row.digest.hex(): row.expires_at for row in rows}


def _context(generation: int) -> bytes:
    return b"firsthop credential key %d" % generation


async def store_row(session: AsyncSession) -> StoreRow:
    return (await session.scalars(select(StoreRow))).one()


async def live_keys(session: AsyncSession) -> Sequence[KeyRow]:
    """The rows in force, oldest first."""
    query = select(KeyRow).where(KeyRow.retired_at.is_(None)).order_by(KeyRow.generation)
    return (await session.scalars(query)).all()


async def _next_id(session: AsyncSession, taken: set[int]) -> int:
    """The first free id after the newest generation's, so that ids are reused late."""
    newest = await session.scalar(select(KeyRow.id).order_by(KeyRow.generation.desc()).limit(1))
    start = 0 if newest is None else newest + 1
    for step in range(KEY_IDS):
        if (start + step) % KEY_IDS not in taken:
            return (start + step) % KEY_IDS
    raise conflict(f"all {KEY_IDS} key ids are in use: retire some first")


async def _no_signer(session: AsyncSession, rows: Sequence[KeyRow]) -> None:
    for row in rows:
        if row.signing:
            row.signing, row.version = False, row.version + 1
    await session.flush()


async def _changed(
    session: AsyncSession, actor: Actor, action: str, row: KeyRow, now: datetime
) -> None:
    await _next_number(session, now)
    session.add(audit(actor, action, f"keys/{row.id}", now))
    await notify(session, "keys")


async def _next_number(session: AsyncSession, now: datetime) -> None:
    store = await store_row(session)
    store.keys_number += 1
    store.keys_changed_at = now


async def token_changed(
    session: AsyncSession,
    actor: Actor,
    action: str,
    row: TokenRow,
    now: datetime,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Audit a change of a token, and notify the replicas.

    Edges get the tokens of role allocator with the key set, which then needs a new number.
    """
    session.add(audit(actor, action, f"tokens/{row.id}", now, before, after))
    if ALLOCATOR in (row.role, (before or {}).get("role")):
        await _next_number(session, now)
    await notify(session, "tokens")


def key_entry(row: KeyRow) -> KeyEntry:
    return KeyEntry(
        id=row.id, signing=row.signing, created_at=row.created_at, created_by=row.created_by
    )
