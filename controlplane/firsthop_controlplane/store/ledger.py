"""The tables of what happened, who may act, and what was last seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from firsthop_controlplane.store.tables import Base, SlugText
from firsthop_geodata.addresses import Address


class StoreRow(Base):
    """One row: which store this is, and the numbers that must outlive a process."""

    __tablename__ = "store"
    __table_args__ = (CheckConstraint("one", name="one_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    lineage: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    keys_number: Mapped[int] = mapped_column(BigInteger)
    keys_changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LeaderRow(Base):
    """One row: the lease of the control plane that leads."""

    __tablename__ = "leader"
    __table_args__ = (CheckConstraint("one", name="one_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    term: Mapped[int] = mapped_column(BigInteger)
    """Rises with every leader."""
    holder: Mapped[str]
    """A name that each process makes for itself."""
    url: Mapped[str]
    pid: Mapped[int]
    """The database session that holds the lock."""
    renewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class RevisionRow(Base):
    """One accepted change: the whole document after it."""

    __tablename__ = "revision"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parent: Mapped[int] = mapped_column(BigInteger)
    author: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest: Mapped[str]


class AuditRow(Base):
    """Who did what to which object, from where, and how it was before and after."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_object", "object", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    author: Mapped[str]
    address: Mapped[Address | None] = mapped_column(INET)
    request: Mapped[str | None]
    action: Mapped[str]
    object: Mapped[str] = mapped_column(SlugText)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    revision: Mapped[int | None] = mapped_column(BigInteger, index=True)


class TokenRow(Base):
    """Who may call: only the digest of the secret is kept."""

    __tablename__ = "token"
    __table_args__ = (CheckConstraint("octet_length(digest) = 32", name="digest"),)

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    scope: Mapped[str | None]
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int]


class KeyRow(Base):
    """One generation of credential keys, sealed; a retired one keeps its row and loses its secret.

    Ids go round (6 bits); generations never do.
    """

    __tablename__ = "key"
    __table_args__ = (
        CheckConstraint("id BETWEEN 0 AND 63", name="id"),
        CheckConstraint("(sealed IS NULL) = (retired_at IS NOT NULL)", name="sealed"),
        CheckConstraint("NOT (signing AND retired_at IS NOT NULL)", name="signing"),
        Index("uq_key_id", "id", unique=True, postgresql_where=text("retired_at IS NULL")),
        Index("uq_key_signing", "signing", unique=True, postgresql_where=text("signing")),
    )

    generation: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[int] = mapped_column(SmallInteger)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    signing: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str]
    retired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int]


class VerdictRow(Base):
    """The last verdict on a relay: what a restart goes on with.

    Relays come and go, so there is no reference to them.
    """

    __tablename__ = "verdict"
    __table_args__ = (CheckConstraint("verdict IN ('up', 'down', 'unknown')", name="verdict"),)

    relay: Mapped[str] = mapped_column(SlugText, primary_key=True)
    verdict: Mapped[str]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str]
    families: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """Of each address that is checked; empty: not known."""


class RelayPastRow(Base):
    """What a relay was from a moment on, until its next row; null: it was no longer there."""

    __tablename__ = "relay_past"
    __table_args__ = (Index("ix_relay_past_relay_at", "relay", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    relay: Mapped[str] = mapped_column(SlugText)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    number: Mapped[int] = mapped_column(BigInteger)
    """Of the status that said so first."""
    status: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class RelayStatusRow(Base):
    """The last report of a relay's own agent."""

    __tablename__ = "relay_status"

    relay: Mapped[str] = mapped_column(SlugText, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)


class TransceiverStatusRow(Base):
    """A transceiver's last report, and the verdict on it."""

    __tablename__ = "transceiver_status"
    __table_args__ = (CheckConstraint("verdict IN ('up', 'down', 'unknown')", name="verdict"),)

    transceiver: Mapped[str] = mapped_column(SlugText, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
    verdict: Mapped[str]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str]


class RttPartRow(Base):
    """A part of what is known of round trips; all of them in their order are the whole."""

    __tablename__ = "rtt_part"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    content: Mapped[bytes] = mapped_column(LargeBinary)


class GuidancePastRow(Base):
    """Prices or latency that edges were told from a moment on: a whole snapshot, or what changed
    since the row of the same kind before it, as `firsthop_controlplane.history.guidance_log` writes
    it.
    """

    __tablename__ = "guidance_past"
    __table_args__ = (
        CheckConstraint("kind IN ('prices', 'latency')", name="kind"),
        CheckConstraint("whole OR content IS NOT NULL", name="content"),
        Index("ix_guidance_past_kind_at", "kind", "at"),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Of the snapshot; 0: none was in force."""
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    whole: Mapped[bool]
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Null, in a row that is whole: what they were told from then on is not known."""
