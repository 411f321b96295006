"""What is learned, in the store: parts of the ledger, and the snapshots that followed from it.

Only the leader of the present term writes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.store.ledger import LeaderRow, RttPartRow, SteeringSnapshotRow
from firsthop_steering.snapshot import Kind, Latency, Prices, kind_of, payload_of

T = TypeVar("T", Latency, Prices)


async def load_parts(engine: AsyncEngine) -> list[bytes]:
    """All parts, oldest first."""
    async with AsyncSession(engine) as session:
        query = select(RttPartRow.content).order_by(RttPartRow.id)
        return list(await session.scalars(query))


async def save_parts(
    engine: AsyncEngine, term: int, contents: Sequence[bytes], now: datetime, *, anew: bool
) -> bool:
    """Adds parts, or puts them in the place of all there are; False if another leads."""
    async with AsyncSession(engine) as session, session.begin():
        if not await _leads(session, term):
            return False
        if anew:
            await session.execute(delete(RttPartRow))
        for content in contents:
            await session.execute(insert(RttPartRow).values(written_at=now, content=content))
        if not await _leads(session, term):  # writing took its time
            await session.rollback()
            return False
    return True


async def load_snapshot(engine: AsyncEngine, kind: Kind, model: type[T]) -> T | None:
    """The last one of a kind."""
    async with AsyncSession(engine) as session:
        row = await session.get(SteeringSnapshotRow, kind)
    return await asyncio.to_thread(_unpacked, row.content, model) if row else None


async def save_snapshot(engine: AsyncEngine, term: int, snapshot: Latency | Prices) -> bool:
    """Puts it in the place of the one before; False if another leads."""
    content = await asyncio.to_thread(_packed, snapshot)
    values = {"written_at": snapshot.created_at, "content": content}
    async with AsyncSession(engine) as session, session.begin():
        if not await _leads(session, term):
            return False
        await session.execute(
            insert(SteeringSnapshotRow)
            .values(kind=kind_of(snapshot), **values)
            .on_conflict_do_update(index_elements=["kind"], set_=values)
        )
    return True


async def _leads(session: AsyncSession, term: int) -> bool:
    """Whether this term is the present one. The row is not locked: its lease has to be renewed."""
    return bool(await session.scalar(select(LeaderRow.term)) == term)


def _packed(snapshot: Latency | Prices) -> bytes:
    return zlib.compress(payload_of(snapshot).encode(), 1)


def _unpacked(content: bytes, model: type[T]) -> T:
    return model.model_validate_json(zlib.decompress(content), extra="ignore")
