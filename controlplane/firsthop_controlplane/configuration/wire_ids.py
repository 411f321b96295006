"""Assigns the 16-bit wire ids of transceiver regions and transceivers: random, never reused.

A credential contains the wire id of its transceiver region and may outlive the region. So an id
belongs to its first owner forever; only the same object, if restored, may have it again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.errors import BrokenRule, conflict
from firsthop_controlplane.store.tables import TransceiverRegionRow, TransceiverRow, WireIdRow
from firsthop_steering.plan.document import Document

HIGHEST = 0xFFFF
_KINDS: dict[type, str] = {
    TransceiverRegionRow: "transceiver_regions",
    TransceiverRow: "transceivers",
}


async def assign(session: AsyncSession) -> list[BrokenRule]:
    """Assign ids to new rows and record them; returns broken rules: ids of other owners."""
    faults = [
        BrokenRule(f"{_KINDS[type(row)]}/{row.id}/wire_id", "cannot be removed")
        for row in session.dirty
        if type(row) in _KINDS and row.wire_id is None
    ]
    for row in sorted(
        (each for each in session.new if type(each) in _KINDS), key=lambda row: str(row.id)
    ):
        faults += await _assign_one(session, _KINDS[type(row)], row)
    return faults


async def _assign_one(
    session: AsyncSession, kind: str, row: TransceiverRegionRow | TransceiverRow
) -> list[BrokenRule]:
    owners = {each.number: each.owner for each in await _given(session, kind)}
    if row.wire_id is None:
        row.wire_id = _draw(kind, owners.keys())
    elif row.wire_id in owners:
        if owners[row.wire_id] == row.id:
            return []
        rule = f"{row.wire_id} belonged to {owners[row.wire_id]}, and wire ids are never reused"
        return [BrokenRule(f"{kind}/{row.id}/wire_id", rule)]
    session.add(WireIdRow(kind=kind, number=row.wire_id, owner=row.id))
    return []


async def _given(session: AsyncSession, kind: str) -> list[WireIdRow]:
    stored = list(await session.scalars(select(WireIdRow).where(WireIdRow.kind == kind)))
    added = [each for each in session.new if isinstance(each, WireIdRow) and each.kind == kind]
    return stored + added


async def had(session: AsyncSession, transceiver: str) -> int | None:
    """The previous wire id of a transceiver with this name; None if it had none."""
    row = WireIdRow
    query = select(row.number).where(row.kind == "transceivers", row.owner == transceiver)
    found: int | None = await session.scalar(query.order_by(row.number).limit(1))
    return found


def _draw(kind: str, taken: object) -> int:
    free = [number for number in range(1, HIGHEST + 1) if number not in taken]  # type: ignore[operator]
    if not free:
        raise conflict(f"all {HIGHEST} wire ids of {kind} are assigned")
    return secrets.choice(free)


def changed(before: Document, after: Document) -> Iterator[BrokenRule]:
    """Broken rules: objects whose wire id changed."""
    for kind in _KINDS.values():
        was = {each.id: each.wire_id for each in getattr(before, kind)}
        for each in getattr(after, kind):
            if was.get(each.id, each.wire_id) != each.wire_id:
                rule = f"cannot be changed: credentials in use contain {was[each.id]}"
                yield BrokenRule(f"{kind}/{each.id}/wire_id", rule)
