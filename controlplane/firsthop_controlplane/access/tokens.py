"""Bearer tokens and their roles, and a copy in memory for times when the store is unreachable.

A token is 32 random bytes. The store has its SHA-256, which needs no salt as tokens are random.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field, model_validator
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.store.ledger import RevokedSecretRow, TokenRow
from firsthop_steering.plan.model import AwareTime, Slug
from firsthop_zones.model import Model

Role = Literal["viewer", "operator", "admin", "edge", "prober", "agent", "allocator", "transceiver"]
VIEWERS = frozenset({"viewer", "operator", "admin"})
OPERATORS = frozenset({"operator", "admin"})
ADMINS = frozenset({"admin"})
REPLICAS = frozenset({"replica"})
"""Other control planes. No token in the store has this role: replicas derive a common secret from
the master key."""
SCOPED = {"agent": "a relay", "transceiver": "a transceiver region", "prober": "a vantage"}
"""Roles that need a scope, and what their scope names."""
MAY_BE_SCOPED = frozenset({*SCOPED, "edge", "allocator"})
SECRET_BYTES = 32


class TokenDraft(Model):
    """The fields of a new token."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[!-~]([ -~]*[!-~])?$")
    """Unique; revisions and audit entries contain it."""
    role: Role
    scope: Slug | None = None
    """The relay of an agent, the region of a transceiver, or the vantage of a prober."""
    expires_at: AwareTime | None = None

    @model_validator(mode="after")
    def _scoped(self) -> TokenDraft:
        if self.role in SCOPED and self.scope is None:
            rule = f"a token of role {self.role} is for {SCOPED[self.role]}, which the scope names"
            raise ValueError(f"scope: {rule}")
        if self.scope is not None and self.role not in MAY_BE_SCOPED:
            raise ValueError(f"scope: a token of role {self.role} has none")
        return self


class TokenEntry(TokenDraft):
    """A token without its secret."""

    id: Slug
    created_at: AwareDatetime
    created_by: str


class UsedToken(TokenEntry):
    """A token without its secret, and how it was used."""

    last_used_at: AwareDatetime | None
    """When a request with it was last accepted or refused."""
    uses: int
    """Number of requests that it allowed."""
    refusals: dict[str, int]
    """Number of refused requests by reason: the last part of the problem's type, or `expired`."""


class TokenCreated(TokenEntry):
    """A new token with its secret, which no other response contains."""

    secret: str


class BootstrapToken(TokenDraft):
    """A token with a given secret, which is added unless the store ever had that secret."""

    secret: str = Field(min_length=32, max_length=200, pattern=r"^[!-~]+$")


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who presented a token."""

    id: str
    name: str
    role: str
    scope: str | None
    expires_at: datetime | None

    def valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


def new_secret() -> str:
    """43 characters with 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def new_row(draft: TokenDraft, secret: str, author: str, now: datetime) -> TokenRow:
    """A row for the token with this secret."""
    return TokenRow(
        id=secrets.token_hex(6),
        name=draft.name,
        role=draft.role,
        scope=draft.scope,
        digest=digest_of(secret),
        created_at=now,
        created_by=author,
        expires_at=draft.expires_at,
        version=1,
    )


async def revoke(session: AsyncSession, row: TokenRow, now: datetime) -> None:
    """Delete a token for ever: no bootstrap restores its secret."""
    session.add(RevokedSecretRow(digest=row.digest, name=row.name, revoked_at=now))
    await session.delete(row)
    await session.flush()


def entry(row: TokenRow) -> TokenEntry:
    return TokenEntry.model_construct(
        **{name: getattr(row, name) for name in TokenEntry.model_fields}
    )


class TokenBook:
    """All tokens by digest, as of the last load from the store, and the replicas' secret."""

    def __init__(self, replica_secret: str) -> None:
        self._replica = digest_of(replica_secret)
        self._by_digest: dict[bytes, Principal] = {}
        self._by_id: dict[str, Principal] = {}

    async def load(self, session: AsyncSession) -> None:
        self.replace(await session.scalars(select(TokenRow)))

    def replace(self, rows: Iterable[TokenRow]) -> None:
        self._by_digest = {row.digest: _principal(row) for row in rows}
        self._by_id = {each.id: each for each in self._by_digest.values()}

    def is_valid(self, name: str, now: datetime) -> bool:
        """Whether the token with this id exists and has not expired."""
        principal = self._by_id.get(name)
        return principal is not None and principal.valid(now)

    def find(self, secret: str) -> Principal | None:
        """The owner of a secret; does not check its expiry."""
        digest = digest_of(secret)
        if hmac.compare_digest(digest, self._replica):
            return Principal("replica", "replica", "replica", None, None)
        return self._by_digest.get(digest)


def _principal(row: TokenRow) -> Principal:
    return Principal(row.id, row.name, row.role, row.scope, row.expires_at)
