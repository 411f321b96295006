"""The status of relays at past times: one row for each change that affects answers.

A row is in force until the relay's next one, even while no control plane runs: edges continue with
their last status. Load is not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from firsthop_controlplane.health.status_changes import steers
from firsthop_controlplane.store.ledger import RelayPastRow
from firsthop_steering.feed.snapshot import RelayStatus, Status

FORGET_EVERY = timedelta(hours=1)
MAX_PENDING = 10_000
"""Number of changes kept while the database is unreachable; then the oldest are dropped."""
_NOT_KEPT = {"sessions", "load", "reported_at"}
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RelayChange:
    """The status of a relay from `at` on; None: it was removed."""

    relay: str
    at: datetime
    number: int
    """Number of the first status that had this change."""
    status: RelayStatus | None


class RelayHistory:
    """Changes that the leader must write to the store, which keeps them for `keep`."""

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep
        self._noted: dict[str, RelayStatus] = {}
        self._forgot_at: datetime | None = None
        self.pending: tuple[RelayChange, ...] = ()
        """Changes that are not yet in the store."""

    def note(self, status: Status, *, local: bool) -> None:
        """Compare a status with the last one; `local`: some service uses views of one vantage."""
        new, old = status.relays, self._noted
        changed: list[tuple[str, RelayStatus | None]] = [
            (name, each)
            for name, each in new.items()
            if name not in old or steers(each, local=local) != steers(old[name], local=local)
        ]
        changed += [(name, None) for name in old.keys() - new.keys()]
        at, number = status.created_at, status.number
        found = (RelayChange(name, at, number, each) for name, each in changed)
        self.pending = (*self.pending, *found)[-MAX_PENDING:]
        for name, each in changed:
            if each is None:
                del self._noted[name]
            else:
                self._noted[name] = each

    async def load(self, session: AsyncSession) -> None:
        """Continue from the rows of the previous leader."""
        newest = await _rows_at(session, None)
        self._noted = {row.relay: _read(row) for row in newest if row.status is not None}
        self.pending = ()

    async def write(
        self, session: AsyncSession, changes: Sequence[RelayChange], now: datetime
    ) -> None:
        """Write `changes`, and once an hour delete old rows."""
        for start in range(0, len(changes), _ROWS_AT_ONCE):
            rows = [_row(each) for each in changes[start : start + _ROWS_AT_ONCE]]
            await session.execute(insert(RelayPastRow), rows)
        if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
            await forget(session, now - self._keep)
            self._forgot_at = now

    def written(self, changes: Sequence[RelayChange]) -> None:
        """Remove `changes` from the pending ones, as they are in the store."""
        done = set(map(id, changes))
        self.pending = tuple(each for each in self.pending if id(each) not in done)


async def forget(session: AsyncSession, before: datetime) -> None:
    """Delete rows that were replaced before that time; rows in force at that time are kept."""
    later = aliased(RelayPastRow)
    overtaken = (
        select(later.id)
        .where(later.relay == RelayPastRow.relay, later.at > RelayPastRow.at, later.at <= before)
        .exists()
    )
    await session.execute(delete(RelayPastRow).where(RelayPastRow.at < before, overtaken))


async def relays_at(
    session: AsyncSession, at: datetime
) -> tuple[int, Mapping[str, RelayStatus]] | None:
    """Every relay's status at that time, and the number of the snapshot with the last change.

    None if no row is as old.
    """
    rows = await _rows_at(session, at)
    if not rows:
        return None
    number = max(row.number for row in rows)
    return number, {row.relay: _read(row) for row in rows if row.status is not None}


async def _rows_at(session: AsyncSession, at: datetime | None) -> Sequence[RelayPastRow]:
    """The newest row of each relay up to a time; `at` None: up to now."""
    row = RelayPastRow
    newest = func.row_number().over(partition_by=row.relay, order_by=(row.at.desc(), row.id.desc()))
    ranked = select(row.id, newest.label("place"))
    if at is not None:
        ranked = ranked.where(row.at <= at)
    found = ranked.subquery()
    query = select(row).join(found, found.c.id == row.id).where(found.c.place == 1)
    return (await session.scalars(query)).all()


def _row(change: RelayChange) -> dict[str, object]:
    status = change.status
    kept = None if status is None else status.model_dump(
        mode="json", exclude_defaults=True, exclude=_NOT_KEPT
    )  # fmt: skip
    return {"relay": change.relay, "at": change.at, "number": change.number, "status": kept}


def _read(row: RelayPastRow) -> RelayStatus:
    return RelayStatus.model_validate(row.status, extra="ignore")
