"""Converts the rows of the configuration tables to one `Document`, and back."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.store.tables import (
    Configured,
    OverrideRow,
    RecordRow,
    RegionRow,
    RelayRow,
    ServiceRow,
    TransceiverRegionRow,
    TransceiverRow,
    ZoneRow,
)
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import (
    Override,
    Region,
    Relay,
    Service,
    Transceiver,
    TransceiverRegion,
)
from firsthop_zones.model import Model, Record, Zone


@dataclass(frozen=True, slots=True)
class Collection:
    """One kind of object: its key in the document, its model and its table."""

    name: str
    model: type[Model]
    row: type[Configured]
    key: str = "id"

    def identity(self, thing: Any) -> str:
        """The id of a model or row."""
        return str(getattr(thing, self.key))

    def columns(self) -> list[str]:
        """The fields that are columns; a zone's records have their own table."""
        return [name for name in self.model.model_fields if name in self.row.__table__.columns]

    def values(self, value: BaseModel) -> dict[str, Any]:
        """The columns of a model."""
        return {name: _column(getattr(value, name)) for name in self.columns()}

    def read(self, row: Configured, **more: Any) -> Model:
        """The model of a row."""
        return self.model.model_validate({n: getattr(row, n) for n in self.columns()} | more)

    def new(self, value: BaseModel) -> Configured:
        """A row of a model, not yet in any session."""
        return self.row(**self.values(value))

    def write(self, row: Configured, value: BaseModel) -> None:
        """Set the columns that differ, so that an equal row is not touched."""
        for name, wanted in self.values(value).items():
            if getattr(row, name) != wanted:
                setattr(row, name, wanted)


def _column(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, Enum) else value


REGIONS = Collection("regions", Region, RegionRow)
RELAYS = Collection("relays", Relay, RelayRow)
TRANSCEIVER_REGIONS = Collection("transceiver_regions", TransceiverRegion, TransceiverRegionRow)
TRANSCEIVERS = Collection("transceivers", Transceiver, TransceiverRow)
ZONES = Collection("zones", Zone, ZoneRow, "apex")
SERVICES = Collection("services", Service, ServiceRow)
OVERRIDES = Collection("overrides", Override, OverrideRow)
COLLECTIONS = (
    REGIONS,
    RELAYS,
    TRANSCEIVER_REGIONS,
    TRANSCEIVERS,
    ZONES,
    SERVICES,
    OVERRIDES,
)
RECORDS = Collection("records", Record, RecordRow)
"""Records are parts of zones; their rows have an id that documents do not contain."""

RecordKey = tuple[str, str, str, str]


def record_key(zone: str, record: Record | RecordRow) -> RecordKey:
    """The identity of a record: zone, owner, type and data, but not TTL."""
    return zone, record.owner, record.type, record.rdata


def new_record(zone: str, record: Record) -> RecordRow:
    """A row with a new id."""
    return RecordRow(id=secrets.token_hex(6), zone=zone, **RECORDS.values(record))


async def rows_of(session: AsyncSession, collection: Collection) -> dict[str, Configured]:
    """All rows by id, in the order of their ids."""
    column = getattr(collection.row, collection.key)
    found = await session.scalars(select(collection.row).order_by(column))
    return {collection.identity(row): row for row in found}


async def load_document(session: AsyncSession, like: Document | None = None) -> Document:
    """The whole configuration, every collection ordered by id.

    Records that are also in `like` are taken from there: a zone may have 100,000, of which few
    change at once.
    """
    records = await _records(session, like)
    parts: dict[str, list[Model]] = {}
    for collection in COLLECTIONS:
        rows = await rows_of(session, collection)
        parts[collection.name] = [
            collection.read(row, records=records.get(identity, ()))
            if collection is ZONES
            else collection.read(row)
            for identity, row in rows.items()
        ]
    return Document.model_validate(parts)


async def _records(session: AsyncSession, like: Document | None) -> dict[str, list[Record]]:
    """All records by zone, sorted by owner, type and data; as values, not as rows."""
    known = {
        (record.owner, record.type, record.rdata, record.ttl): record
        for zone in (like.zones if like else ())
        for record in zone.records
    }
    row = RecordRow
    found = await session.execute(select(row.zone, row.owner, row.type, row.rdata, row.ttl))
    zones: dict[str, list[Record]] = {}
    for zone, owner, type_, rdata, ttl in sorted(found):
        record = known.get((owner, type_, rdata, ttl))
        if record is None:
            record = Record(owner=owner, type=type_, rdata=rdata, ttl=ttl)
        zones.setdefault(zone, []).append(record)
    return zones


async def replace_document(session: AsyncSession, target: Document) -> None:
    """Make the tables equal to `target`; equal rows are not touched.

    Transceivers that registered themselves are kept as long as their region exists, because an
    operator's document cannot list them all.
    """
    for collection in COLLECTIONS:
        rows = await rows_of(session, collection)
        wanted = {collection.identity(each): each for each in getattr(target, collection.name)}
        for identity, value in wanted.items():
            row = rows.pop(identity, None)
            if row is None:
                session.add(collection.new(value))
            else:
                collection.write(row, _with_wire_id(row, value))
        for row in rows.values():
            if not _registered_itself(row, target):
                await session.delete(row)
    await _replace_records(session, target)


def _registered_itself(row: Configured, target: Document) -> bool:
    if not isinstance(row, TransceiverRow) or not row.registered:
        return False
    return any(each.id == row.region for each in target.transceiver_regions)


def _with_wire_id(row: Configured, value: Model) -> Model:
    """The value with the row's wire id, if the document has none."""
    if isinstance(value, TransceiverRegion | Transceiver) and value.wire_id is None:
        kept = row.wire_id  # type: ignore[attr-defined]
        return value.model_copy(update={"wire_id": kept})
    return value


async def _replace_records(session: AsyncSession, target: Document) -> None:
    rows = await session.scalars(select(RecordRow))
    present = {record_key(row.zone, row): row for row in rows}
    for zone in target.zones:
        for record in zone.records:
            row = present.pop(record_key(zone.apex, record), None)
            if row is None:
                session.add(new_record(zone.apex, record))
            else:
                RECORDS.write(row, record)
    for row in present.values():
        await session.delete(row)


async def delete_records(session: AsyncSession, zone: str) -> None:
    """Delete all records of a zone."""
    for row in await session.scalars(select(RecordRow).where(RecordRow.zone == zone)):
        await session.delete(row)
