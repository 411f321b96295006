"""Reads and writes the learned ledger, in parts. Only the leader of the present term writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.store.ledger import LeaderRow, RttPartRow


async def load_parts(engine: AsyncEngine) -> list[bytes]:
    """All parts, oldest first."""
    async with AsyncSession(engine) as session:
        query = select(RttPartRow.content).order_by(RttPartRow.id)
        return list(await session.scalars(query))


async def save_parts(
    engine: AsyncEngine, term: int, contents: Sequence[bytes], now: datetime, *, anew: bool
) -> bool:
    """Append parts, or replace all parts (`anew`); returns False if another replica leads."""
    async with AsyncSession(engine) as session, session.begin():
        if not await _leads(session, term):
            return False
        if anew:
            await session.execute(delete(RttPartRow))
        for content in contents:
            await session.execute(insert(RttPartRow).values(written_at=now, content=content))
        if not await _leads(session, term):  # check again, as writing may have taken long
            await session.rollback()
            return False
    return True


async def _leads(session: AsyncSession, term: int) -> bool:
    """Whether this term is the present one. The row is not locked, so that it can be renewed."""
    return bool(await session.scalar(select(LeaderRow.term)) == term)
