"""The tables of the configuration: one column per field of `firsthop_steering.plan.model`.

Column names are field names, so rows and models are converted without a list of fields. Rules
within one row are constraints here as well. Rules between rows are checked at the commit, because
a change set may pass through states that break them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import CIDR, INET, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from firsthop_geodata.addresses import Address, Network

SlugText = Text(collation="C")
"""Ids and names sort by bytes, in the same order under every database's locale."""


class Base(DeclarativeBase):
    """The base of all tables; constraint names are fixed, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        str: Text(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        Address: INET(),
        Network: CIDR(),
    }


class Configured(Base):
    """A table whose rows are part of the document."""

    __abstract__ = True

    version: Mapped[int] = mapped_column(BigInteger)
    """The revision that last changed this row; its ETag."""


def _within(column: str, low: int, high: int) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=column)


def _state() -> CheckConstraint:
    return CheckConstraint("state IN ('active', 'draining', 'disabled')", name="state")


def _unique(*columns: str) -> UniqueConstraint:
    return UniqueConstraint(*columns, deferrable=True, initially="DEFERRED")


def _refers(target: str) -> ForeignKey:
    return ForeignKey(target, deferrable=True, initially="DEFERRED")


class RegionRow(Configured):
    __tablename__ = "region"
    __table_args__ = (
        _within("latitude", -90, 90),
        _within("longitude", -180, 180),
        _within("weight", 0, 100),
        _within("bias_ms", -500, 500),
        _state(),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    name: Mapped[str]
    latitude: Mapped[float]
    longitude: Mapped[float]
    weight: Mapped[int]
    bias_ms: Mapped[float]
    state: Mapped[str]


class RelayRow(Configured):
    __tablename__ = "relay"
    __table_args__ = (
        CheckConstraint("kind IN ('relay', 'turn')", name="kind"),
        CheckConstraint("ipv4 IS NOT NULL OR ipv6 IS NOT NULL", name="reachable"),
        CheckConstraint("family(ipv4) = 4", name="ipv4"),
        CheckConstraint("family(ipv6) = 6", name="ipv6"),
        _within("udp_port", 1, 65535),
        _within("tcp_port", 1, 65535),
        _within("weight", 0, 100),
        CheckConstraint("capacity >= 1", name="capacity"),
        _state(),
        _unique("ipv4", "udp_port"),
        _unique("ipv6", "udp_port"),
        _unique("ipv4", "tcp_port"),
        _unique("ipv6", "tcp_port"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    region: Mapped[str] = mapped_column(SlugText, _refers("region.id"), index=True)
    kind: Mapped[str]
    ipv4: Mapped[Address | None] = mapped_column(INET())
    ipv6: Mapped[Address | None] = mapped_column(INET())
    udp_port: Mapped[int]
    tcp_port: Mapped[int | None]
    weight: Mapped[int]
    capacity: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    failure_domain: Mapped[str | None]
    probe: Mapped[dict[str, Any]]
    forced: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class TransceiverRegionRow(Configured):
    __tablename__ = "transceiver_region"
    __table_args__ = (
        _within("wire_id", 1, 65535),
        _within("latitude", -90, 90),
        _within("longitude", -180, 180),
        _within("weight", 0, 100),
        _within("bias_ms", -500, 500),
        CheckConstraint("capacity >= 1", name="capacity"),
        _state(),
        _unique("wire_id"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    wire_id: Mapped[int]
    latitude: Mapped[float]
    longitude: Mapped[float]
    weight: Mapped[int]
    bias_ms: Mapped[float]
    capacity: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    networks: Mapped[list[Network]] = mapped_column(ARRAY(CIDR))


class TransceiverRow(Configured):
    __tablename__ = "transceiver"
    __table_args__ = (
        _within("wire_id", 1, 65535),
        _within("port", 1, 65535),
        _within("signalling_port", 1, 65535),
        CheckConstraint("family(signalling_ipv4) = 4", name="signalling_ipv4"),
        CheckConstraint("family(signalling_ipv6) = 6", name="signalling_ipv6"),
        _within("weight", 0, 100),
        CheckConstraint("capacity >= 1", name="capacity"),
        _state(),
        _unique("wire_id"),
        _unique("host", "port"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    wire_id: Mapped[int]
    region: Mapped[str] = mapped_column(SlugText, _refers("transceiver_region.id"), index=True)
    host: Mapped[Address] = mapped_column(INET())
    port: Mapped[int]
    signalling_ipv4: Mapped[Address | None] = mapped_column(INET())
    signalling_ipv6: Mapped[Address | None] = mapped_column(INET())
    signalling_port: Mapped[int | None]
    weight: Mapped[int]
    capacity: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    registered: Mapped[bool]


class WireIdRow(Base):
    """Every wire id ever assigned, and its owner: credentials outlive the objects they refer to."""

    __tablename__ = "wire_id"
    __table_args__ = (
        CheckConstraint("kind IN ('transceiver_regions', 'transceivers')", name="kind"),
        _within("number", 1, 65535),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(SlugText)


class ZoneRow(Configured):
    __tablename__ = "zone"

    apex: Mapped[str] = mapped_column(SlugText, primary_key=True)
    primary: Mapped[str]
    contact: Mapped[str]
    refresh: Mapped[int]
    retry: Mapped[int]
    expire: Mapped[int]
    minimum: Mapped[int]
    ttl: Mapped[int]
    name_servers_ttl: Mapped[int | None]
    name_servers: Mapped[list[str]] = mapped_column(ARRAY(Text))


class RecordRow(Configured):
    __tablename__ = "record"
    __table_args__ = (
        CheckConstraint("type ~ '^[A-Z][A-Z0-9]*$'", name="type"),
        Index("ix_record_owner", "zone", "owner"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    zone: Mapped[str] = mapped_column(SlugText, _refers("zone.apex"))
    owner: Mapped[str] = mapped_column(SlugText)
    type: Mapped[str]
    ttl: Mapped[int]
    rdata: Mapped[str]


class ServiceRow(Configured):
    __tablename__ = "service"
    __table_args__ = (
        CheckConstraint("pool IN ('relays', 'transceivers')", name="pool"),
        CheckConstraint("when_all_down IN ('open', 'closed', 'fallback')", name="when_all_down"),
        CheckConstraint("ttl BETWEEN ttl_min AND ttl_max", name="ttl"),
        CheckConstraint("view IN ('global', 'local')", name="view"),
        _within("answers", 1, 8),
        _within("min_candidates", 1, 8),
        _unique("name"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    name: Mapped[str]
    pool: Mapped[str]
    ttl: Mapped[int]
    ttl_min: Mapped[int | None]
    ttl_max: Mapped[int]
    answers: Mapped[int]
    min_candidates: Mapped[int]
    regions: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    transceiver_regions: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    when_all_down: Mapped[str]
    fallback: Mapped[list[Address]] = mapped_column(ARRAY(INET))
    ecs: Mapped[bool]
    view: Mapped[str]


class OverrideRow(Configured):
    __tablename__ = "override"
    __table_args__ = (
        CheckConstraint("num_nonnulls(cidr, asn, country, continent) = 1", name="one_match"),
        CheckConstraint("mode IN ('prefer', 'only', 'avoid')", name="mode"),
        CheckConstraint("cardinality(regions) >= 1", name="regions"),
    )

    id: Mapped[str] = mapped_column(SlugText, primary_key=True)
    cidr: Mapped[Network | None] = mapped_column(CIDR())
    asn: Mapped[int | None] = mapped_column(BigInteger)
    country: Mapped[str | None]
    continent: Mapped[str | None]
    regions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    mode: Mapped[str]
    service: Mapped[str | None] = mapped_column(SlugText, _refers("service.id"), index=True)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    note: Mapped[str]
