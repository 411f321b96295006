"""The last words and verdicts in the store: what a leader goes on with."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.health.last_reports import Received
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.store.ledger import RelayStatusRow, TransceiverStatusRow, VerdictRow
from firsthop_steering.feed.reports import TransceiverReport

ROWS_AT_ONCE = 1000
"""A statement has at most 32,767 parameters."""
Attended = dict[str, tuple[Received[TransceiverReport], Verdict]]
"""Transceivers that were heard."""
_Table = type[VerdictRow] | type[RelayStatusRow] | type[TransceiverStatusRow]


async def load_attendance(session: AsyncSession) -> Attended:
    """What transceivers last said, and how they stood."""
    rows = await session.scalars(select(TransceiverStatusRow))
    return {
        row.transceiver: (
            Received(TransceiverReport.model_validate(row.report, extra="ignore"), row.received_at),
            Verdict(row.verdict, row.since, row.reason),  # type: ignore[arg-type]
        )
        for row in rows
    }


async def save_attendance(session: AsyncSession, old: Attended, new: Attended) -> None:
    """Write what changed from `old`, which the store has."""
    rows = [
        {
            "transceiver": name,
            "received_at": heard.received_at,
            "report": heard.report.model_dump(mode="json"),
            "verdict": standing.verdict,
            "since": standing.since,
            "reason": standing.reason,
        }
        for name, (heard, standing) in sorted(new.items())
        if old.get(name) != (heard, standing)
    ]
    await upsert(session, TransceiverStatusRow, rows, old.keys() - new.keys())


async def upsert(
    session: AsyncSession,
    table: _Table,
    rows: list[dict[str, object]],
    gone: Collection[str],
) -> None:
    """Write rows of a table whose key is one name, and take away those of `gone`."""
    (key,) = table.__mapper__.primary_key
    for start in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(table).values(rows[start : start + ROWS_AT_ONCE])
        changed = {name: statement.excluded[name] for name in rows[0] if name != key.name}
        await session.execute(
            statement.on_conflict_do_update(index_elements=[key.name], set_=changed)
        )
    if gone:
        await session.execute(delete(table).where(key.in_(sorted(gone))))
