"""The tables other than the configuration: history, tokens and keys, leadership, last reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
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
    """The only row: the identity of this store, and numbers that outlive a process."""

    __tablename__ = "store"
    __table_args__ = (CheckConstraint("one", name="one_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    lineage: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    keys_number: Mapped[int] = mapped_column(BigInteger)
    keys_changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LeaderRow(Base):
    """The only row: the lease of the control plane that leads."""

    __tablename__ = "leader"
    __table_args__ = (CheckConstraint("one", name="one_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    term: Mapped[int] = mapped_column(BigInteger)
    """Rises with every leader."""
    holder: Mapped[str]
    """A random name of the leader's process."""
    url: Mapped[str]
    pid: Mapped[int]
    """The database session that holds the lock."""
    renewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class RevisionRow(Base):
    """One accepted change, with the whole document after it."""

    __tablename__ = "revision"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parent: Mapped[int] = mapped_column(BigInteger)
    author: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest: Mapped[str]


class AuditRow(Base):
    """One action: who changed which object, from where, with its values before and after."""

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
    """A token; the store has only a digest of its secret."""

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


class RevokedSecretRow(Base):
    """A secret that was deleted or replaced: a start with bootstrap tokens does not restore it."""

    __tablename__ = "revoked_secret"
    __table_args__ = (CheckConstraint("octet_length(digest) = 32", name="digest"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    name: Mapped[str]
    """The name that its token had."""
    revoked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class TokenUseRow(Base):
    """How often requests with a token had one outcome, and when the last one had it."""

    __tablename__ = "token_use"

    token: Mapped[str] = mapped_column(
        SlugText, ForeignKey("token.id", ondelete="CASCADE"), primary_key=True
    )
    outcome: Mapped[str] = mapped_column(primary_key=True)
    """`accepted`, or the reason of the refusal."""
    count: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class KeyRow(Base):
    """One generation of credential keys, encrypted; a retired one keeps its row but not its secret.

    Ids (6 bits) are reused, generations are not.
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
    """The last verdict on a relay, from which the next leader continues.

    There is no foreign key to relays, which may be deleted at any time.
    """

    __tablename__ = "verdict"
    __table_args__ = (CheckConstraint("verdict IN ('up', 'down', 'unknown')", name="verdict"),)

    relay: Mapped[str] = mapped_column(SlugText, primary_key=True)
    verdict: Mapped[str]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str]
    families: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """The verdict on each probed address; empty: not known."""


class RelayPastRow(Base):
    """The status of a relay from a time until its next row; null: it was removed."""

    __tablename__ = "relay_past"
    __table_args__ = (Index("ix_relay_past_relay_at", "relay", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    relay: Mapped[str] = mapped_column(SlugText)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    number: Mapped[int] = mapped_column(BigInteger)
    """Number of the first status that had this change."""
    status: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class RelayStatusRow(Base):
    """The last report of a relay's own agent."""

    __tablename__ = "relay_status"

    relay: Mapped[str] = mapped_column(SlugText, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    token: Mapped[str | None]
    """Id of the token that it was sent with; null: written by an older release."""
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)


class TransceiverStatusRow(Base):
    """A transceiver's last report, and the verdict on it."""

    __tablename__ = "transceiver_status"
    __table_args__ = (CheckConstraint("verdict IN ('up', 'down', 'unknown')", name="verdict"),)

    transceiver: Mapped[str] = mapped_column(SlugText, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    token: Mapped[str | None]
    """Id of the token that it was sent with; null: written by an older release."""
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
    verdict: Mapped[str]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str]


class RttPartRow(Base):
    """A part of the learned ledger of round trips; all parts in order result in the ledger."""

    __tablename__ = "rtt_part"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    content: Mapped[bytes] = mapped_column(LargeBinary)


class GuidancePastRow(Base):
    """Prices or latency published from a time on: a whole snapshot, or the changes since the
    previous row of this kind, as `firsthop_controlplane.history.guidance_log` writes them.
    """

    __tablename__ = "guidance_past"
    __table_args__ = (
        CheckConstraint("kind IN ('prices', 'latency')", name="kind"),
        CheckConstraint("whole OR content IS NOT NULL", name="content"),
        Index("ix_guidance_past_kind_at", "kind", "at"),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Number of the snapshot; 0: none was in force."""
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    whole: Mapped[bool]
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Null, in a whole row: it is not known what was published from then on."""
