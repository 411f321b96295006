"""Verdicts and last reports in the store, from which the next leader continues."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.health.last_reports import Received
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.store.ledger import RelayStatusRow, TransceiverStatusRow, VerdictRow
from firsthop_steering.feed.reports import RelayReport, TransceiverReport

ROWS_AT_ONCE = 1000
"""Limited because a statement has at most 32,767 parameters."""
RelayVerdicts = dict[str, Verdict]
RelayReports = dict[str, Received[RelayReport]]
ReportedTransceivers = dict[str, tuple[Received[TransceiverReport], Verdict]]
"""Transceivers that have reported: their last report and verdict."""
_Table = type[VerdictRow] | type[RelayStatusRow] | type[TransceiverStatusRow]


async def load_verdicts(session: AsyncSession) -> RelayVerdicts:
    """The last verdict on each relay."""
    rows = await session.scalars(select(VerdictRow))
    return {
        row.relay: Verdict(row.verdict, row.since, row.reason, row.families)  # type: ignore[arg-type]
        for row in rows
    }


async def save_verdicts(session: AsyncSession, old: RelayVerdicts, new: RelayVerdicts) -> None:
    """Write the differences from `old`, which is in the store."""
    rows = [
        {
            "relay": name,
            "verdict": each.verdict,
            "since": each.since,
            "reason": each.reason,
            "families": dict(each.families),
        }
        for name, each in sorted(new.items())
        if old.get(name) != each
    ]
    await _upsert(session, VerdictRow, rows, old.keys() - new.keys())


async def load_relay_reports(session: AsyncSession) -> RelayReports:
    """The last report of each agent."""
    rows = await session.scalars(select(RelayStatusRow))
    return {
        row.relay: Received(
            RelayReport.model_validate(row.report, extra="ignore"), row.received_at, row.token
        )
        for row in rows
    }


async def save_relay_reports(session: AsyncSession, old: RelayReports, new: RelayReports) -> None:
    """Write the differences from `old`, which is in the store."""
    rows: list[dict[str, object]] = [
        {
            "relay": name,
            "received_at": each.received_at,
            "token": each.token,
            "report": each.report.model_dump(mode="json"),
        }
        for name, each in sorted(new.items())
        if old.get(name) != each
    ]
    await _upsert(session, RelayStatusRow, rows, old.keys() - new.keys())


async def load_transceivers(session: AsyncSession) -> ReportedTransceivers:
    """The last report of each transceiver, and the verdict on it."""
    rows = await session.scalars(select(TransceiverStatusRow))
    return {
        row.transceiver: (
            Received(
                TransceiverReport.model_validate(row.report, extra="ignore"),
                row.received_at,
                row.token,
            ),
            Verdict(row.verdict, row.since, row.reason),  # type: ignore[arg-type]
        )
        for row in rows
    }


async def save_transceivers(
    session: AsyncSession, old: ReportedTransceivers, new: ReportedTransceivers
) -> None:
    """Write the differences from `old`, which is in the store."""
    rows: list[dict[str, object]] = [
        {
            "transceiver": name,
            "received_at": last.received_at,
            "token": last.token,
            "report": last.report.model_dump(mode="json"),
            "verdict": verdict.verdict,
            "since": verdict.since,
            "reason": verdict.reason,
        }
        for name, (last, verdict) in sorted(new.items())
        if old.get(name) != (last, verdict)
    ]
    await _upsert(session, TransceiverStatusRow, rows, old.keys() - new.keys())


async def _upsert(
    session: AsyncSession,
    table: _Table,
    rows: list[dict[str, object]],
    gone: Collection[str],
) -> None:
    """Write rows of a table whose key is one name, and delete the rows named in `gone`."""
    (key,) = table.__mapper__.primary_key
    for start in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(table).values(rows[start : start + ROWS_AT_ONCE])
        changed = {name: statement.excluded[name] for name in rows[0] if name != key.name}
        await session.execute(
            statement.on_conflict_do_update(index_elements=[key.name], set_=changed)
        )
    if gone:
        await session.execute(delete(table).where(key.in_(sorted(gone))))
