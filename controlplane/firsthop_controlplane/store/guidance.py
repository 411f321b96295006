"""What edges were told of prices and latency, from the first time on: a whole snapshot, then what
changed from each to the next (RFC 7396), and a whole one again when the changes have grown as long.

The last of it is what the next leader goes on with; the rest explains past answers. Only the leader
of the present term writes, a whole snapshot first: numbers rise with the term, so what a former
leader still writes at its end is a row before that. While the database is away rows wait; where
they became too many, it is written down that nothing is known of that time.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.store.learned import leads
from firsthop_controlplane.store.ledger import GuidancePastRow
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_steering.snapshot import Kind, Latency, Prices, payload_of

T = TypeVar("T", Latency, Prices)

LEAST_CHANGED = 4096
"""Octets of changes that follow a whole snapshot, however short that is."""
MOST_CHANGES = 500
"""Rows that follow a whole snapshot: as many are read for a past moment."""
MOST_PENDING = 32_000_000
"""Octets that wait for a database that is away."""
FORGET_EVERY = timedelta(hours=1)
_NOTHING = zlib.compress(b"null")
"""Nothing was in force."""


@dataclass(frozen=True, slots=True)
class Told:
    """What edges were told at a moment, if that is known; None: nothing."""

    known: bool
    snapshot: Latency | Prices | None = None


UNKNOWN = Told(known=False)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    at: datetime
    whole: bool
    content: bytes | None
    """None: what was told from then on is not known."""


class GuidanceLog(Generic[T]):
    """What the leader tells of one kind, and has to write down."""

    def __init__(self, engine: AsyncEngine, kind: Kind, model: type[T], keep: timedelta) -> None:
        self._engine = engine
        self._kind = kind
        self._model: type[T] = model
        self._keep = keep
        self._last: T | None = None
        """What the rows of this term come to; None: the next one has to be whole."""
        self._whole = self._changed = self._changes = 0
        """Octets of the newest whole row, octets and number of those that follow it."""
        self._pending: tuple[_Row, ...] = ()
        self._forgot_at: datetime | None = None

    @property
    def is_saved(self) -> bool:
        """Whether nothing waits."""
        return not self._pending

    async def begin(self, now: datetime) -> T | None:
        """A term: what the leader before told last. What waited from an earlier term is dropped.

        Raises what the database raises, and ValueError and zlib.error where it is damaged.
        """
        self._pending, self._last = (), None
        async with AsyncSession(self._engine) as session:
            rows = await _rows(session, self._kind, None)
        if not rows:
            self._pending = (_Row(0, now, whole=True, content=_NOTHING),)
            return None
        return None if rows[0] is None else await asyncio.to_thread(_read, rows, self._model)

    async def note(self, snapshot: T) -> None:
        """This is what edges are told from now on."""
        row = await asyncio.to_thread(self._row, snapshot)
        self._last = snapshot
        self._pending = (*self._pending, row)
        if sum(len(each.content or b"") for each in self._pending) > MOST_PENDING:
            first = self._pending[0]
            self._pending, self._last = (_Row(first.number, first.at, True, None),), None

    def _row(self, snapshot: T) -> _Row:
        number, at, last = snapshot.number, snapshot.created_at, self._last
        is_long = self._changed > max(self._whole, LEAST_CHANGED) or self._changes >= MOST_CHANGES
        if last is None or is_long:
            content = zlib.compress(payload_of(snapshot).encode(), 1)
            self._whole, self._changed, self._changes = len(content), 0, 0
            return _Row(number, at, True, content)
        changes = changes_between(_fields(last), _fields(snapshot))
        content = zlib.compress(json.dumps(changes, separators=(",", ":")).encode(), 1)
        self._changed, self._changes = self._changed + len(content), self._changes + 1
        return _Row(number, at, False, content)

    async def save(self, term: int, now: datetime) -> None:
        """Write what waits, and once an hour forget what is too old; nothing if another leads.

        Raises what the database raises: then it still waits.
        """
        rows = self._pending
        if not rows:
            return
        async with AsyncSession(self._engine) as session, session.begin():
            if await leads(session, term):
                for each in rows:
                    row = insert(GuidancePastRow).values(kind=self._kind, **asdict(each))
                    await session.execute(row.on_conflict_do_nothing())
                if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
                    await forget(session, self._kind, now - self._keep)
                    self._forgot_at = now
        done = set(map(id, rows))
        self._pending = tuple(each for each in self._pending if id(each) not in done)


async def told_at(session: AsyncSession, kind: Kind, model: type[T], at: datetime) -> Told:
    """What edges were told last by then."""
    rows = await _rows(session, kind, at)
    if not rows or rows[0] is None:
        return UNKNOWN
    return Told(True, await asyncio.to_thread(_read, rows, model))


async def forget(session: AsyncSession, kind: Kind, before: datetime) -> None:
    """Delete what is not needed to know what was told from that time on."""
    row = GuidancePastRow
    wholes = select(func.max(row.number)).where(row.kind == kind, row.whole, row.at <= before)
    gone = delete(row).where(row.kind == kind, row.number < wholes.scalar_subquery())
    await session.execute(gone)


async def _rows(session: AsyncSession, kind: Kind, at: datetime | None) -> Sequence[bytes | None]:
    """The whole row that stood at a time, or stands now, and the changes up to then."""
    row = GuidancePastRow
    newest = select(row.number).where(row.kind == kind)
    if at is None:
        newest = newest.order_by(row.number.desc())
    else:
        newest = newest.where(row.at <= at).order_by(row.at.desc(), row.number.desc())
    last = await session.scalar(newest.limit(1))
    if last is None:
        return ()
    wholes = select(func.max(row.number)).where(row.kind == kind, row.whole, row.number <= last)
    first = await session.scalar(wholes)
    chain = select(row.content).where(row.kind == kind, row.number.between(first, last))
    return (await session.scalars(chain.order_by(row.number))).all()


def _read(rows: Sequence[bytes | None], model: type[T]) -> T | None:
    whole, *changes = (json.loads(zlib.decompress(each)) for each in rows if each is not None)
    if whole is None:
        return None
    for each in changes:
        whole = changed(whole, each)
    if changes and model is Latency:  # edges name their tables by what they read
        rows_of = whole["prefixes"]
        whole["prefixes"] = {name: rows_of[name] for name in sorted(rows_of, key=parse_prefix)}
    return model.model_validate(whole, extra="ignore")


def _fields(snapshot: Latency | Prices) -> dict[str, Any]:
    """As JSON has them; the rows of latency, which are many, as they are."""
    fields = snapshot.model_dump(mode="json", exclude={"prefixes"})
    if isinstance(snapshot, Latency):
        fields["prefixes"] = snapshot.prefixes
    return fields


def changes_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that makes `new` of `old`; no field of either is null."""
    found: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := changes_between(before, value):
                found[name] = inner
        elif value != before:
            found[name] = value
    return found


def changed(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`old` after a merge patch (RFC 7396 §2)."""
    found = dict(old)
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, Mapping):
            before = found.get(name)
            found[name] = changed(before if isinstance(before, Mapping) else {}, value)
        else:
            found[name] = value
    return found
