"""The log of published prices and latency: whole snapshots, each followed by changes.

A whole snapshot is written again once the changes since the last one are as long. The next leader
continues from the newest entry; the others explain past answers. Numbers belong to the leader's
term, and each term begins with a whole snapshot. So a leader may write without checking that it
still leads: rows that it writes late belong to its own term. While the database is unreachable,
rows wait; if there are too many, one row records that this time is not known.

The content of a row is compressed JSON: merge patches (RFC 7396), one per line, applied in order. A
whole row starts from an empty object, others from the previous row. Lines are short, because a
thread that parses a long one blocks all other threads.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.history.merge_patch import change, changes_between
from firsthop_controlplane.store.engine import failure
from firsthop_controlplane.store.ledger import GuidancePastRow
from firsthop_steering.feed.snapshot import Latency, Prices, SnapshotKind, supersedes
from firsthop_steering.rtt.samples import parse_prefix

T = TypeVar("T", Latency, Prices)

log = structlog.get_logger(__name__)
MIN_CHANGED = 4096
"""Octets of changes that may follow a whole snapshot, even if it is shorter."""
MAX_CHANGES = 500
"""Rows that may follow a whole snapshot: reading a past time reads all of them."""
MAX_PENDING = 32_000_000
"""Octets of rows that may wait while the database is unreachable."""
AGAIN_S = 5.0
"""Seconds before rows that could not be written are tried again."""
FORGET_EVERY = timedelta(hours=1)
_LINES_AT_ONCE = 1000
"""Number of learned prefixes per line."""
_ROWS_AT_ONCE = 200
_DAMAGED = (ValueError, TypeError, AttributeError, KeyError, zlib.error)


@dataclass(frozen=True, slots=True)
class PastSnapshot(Generic[T]):
    """The snapshot that edges had at a time, if it is `known`; None: they had none."""

    known: bool
    snapshot: T | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    at: datetime
    whole: bool
    content: bytes | None
    """None: it is not known what was published from then on."""


class GuidanceLog(Generic[T]):
    """Logs the snapshots of one kind that one leader publishes."""

    def __init__(
        self,
        engine: AsyncEngine,
        model: type[T],
        *,
        now: Callable[[], datetime],
        kept: timedelta,
    ) -> None:
        """Rows older than `kept` are deleted."""
        self._engine = engine
        self._kind = _kind_of(model)
        self._model: type[T] = model
        self._now = now
        self._kept = kept
        self._last: T | None = None
        """The snapshot that the rows of this term result in; None: the next row must be whole."""
        self._whole = self._changed = self._changes = 0
        """Octets of the newest whole row; octets of the changes after it; their number."""
        self._pending: tuple[_Row, ...] = ()
        self._news = asyncio.Event()
        self._forgot_at: datetime | None = None
        self._error = ""

    async def begin(self, received: T | None) -> T | None:
        """Begin a term; returns the last published snapshot: as stored, or `received` if newer.

        `received` is the one that this replica received as a standby. Raises the database's errors.
        """
        self._last = None
        async with AsyncSession(self._engine) as session:
            rows = await _rows(session, self._kind, None)
        stored = await _decoded(rows, self._kind, self._model)
        if received is not None and supersedes(received, stored.snapshot):
            self._put(await asyncio.to_thread(_whole_row, received))
            return received
        if not rows:
            self._put(_Row(0, self._now(), whole=True, content=zlib.compress(b"null")))
        return stored.snapshot

    async def note(self, snapshot: T) -> None:
        """Log a snapshot that was just published."""
        row = await asyncio.to_thread(self._row, snapshot)
        self._last = snapshot
        self._put(row)
        first = self._pending[0]
        if row is not first and sum(len(each.content or b"") for each in self._pending) > (
            MAX_PENDING
        ):
            lost = _Row(first.number, first.at, whole=True, content=None)
            self._pending = (lost, await asyncio.to_thread(self._whole_again, snapshot))

    def _put(self, row: _Row) -> None:
        self._pending = (*self._pending, row)
        self._news.set()

    def _row(self, snapshot: T) -> _Row:
        if self._last is None or self._changes >= MAX_CHANGES:
            return self._whole_again(snapshot)
        changes = changes_between(_fields(self._last), _fields(snapshot))
        content = _content(changes)
        if self._changed + len(content) > max(self._whole, MIN_CHANGED):
            return self._whole_again(snapshot)
        self._changed, self._changes = self._changed + len(content), self._changes + 1
        return _Row(snapshot.number, snapshot.created_at, whole=False, content=content)

    def _whole_again(self, snapshot: T) -> _Row:
        row = _whole_row(snapshot)
        self._whole, self._changed, self._changes = len(row.content or b""), 0, 0
        return row

    async def run(self) -> None:
        """Write logged rows until cancelled; retries while the database is unreachable."""
        while True:
            await self._news.wait()
            self._news.clear()
            if not await self.save():
                await asyncio.sleep(AGAIN_S)
                self._news.set()

    async def save(self) -> bool:
        """Write all waiting rows, and once an hour delete old ones; returns False on failure."""
        try:
            while rows := self._pending[:_ROWS_AT_ONCE]:
                async with AsyncSession(self._engine) as session, session.begin():
                    for each in rows:
                        await session.execute(self._insert(each))
                done = set(map(id, rows))
                self._pending = tuple(each for each in self._pending if id(each) not in done)
            now = self._now()
            if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
                self._forgot_at = now
                async with AsyncSession(self._engine) as session, session.begin():
                    await forget(session, self._kind, now - self._kept)
        except Exception as error:
            reason = failure(error)
            if not self._error:
                log.warning("guidance.save_failed", kind=self._kind, reason=reason)
            self._error = reason
            return False
        if self._error:
            log.info("guidance.saved", kind=self._kind)
        self._error = ""
        return True

    def _insert(self, row: _Row) -> Any:
        """Insert a row unless it exists; a row that marks a loss replaces the existing one."""
        statement = insert(GuidancePastRow).values(kind=self._kind, **asdict(row))
        if row.content is not None:
            return statement.on_conflict_do_nothing()
        key = [GuidancePastRow.kind, GuidancePastRow.number]
        lost = {"whole": True, "content": None}
        return statement.on_conflict_do_update(index_elements=key, set_=lost)


class GuidanceHistory:
    """Snapshots of past times; caches the last one of each kind, since it may be large."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._read: dict[SnapshotKind, tuple[int, PastSnapshot[Any]]] = {}

    async def snapshot_at(self, model: type[T], at: datetime, present: T | None) -> PastSnapshot[T]:
        """The newest snapshot up to a time; `present` is the one that edges have now."""
        kind = _kind_of(model)
        async with AsyncSession(self._engine) as session:
            number = await _number_at(session, kind, at)
            if number is None:
                return PastSnapshot(known=False)
            if present is not None and present.number == number:
                return PastSnapshot(True, present)
            if kind in self._read and self._read[kind][0] == number:
                return self._read[kind][1]
            rows = await _rows(session, kind, number)
        found = await _decoded(rows, kind, model)
        self._read[kind] = number, found
        return found


def _kind_of(model: type[Latency] | type[Prices]) -> SnapshotKind:
    return "latency" if model is Latency else "prices"


async def forget(session: AsyncSession, kind: SnapshotKind, before: datetime) -> None:
    """Delete rows that are not needed to restore any time from `before` on."""
    row = GuidancePastRow
    wholes = select(func.max(row.number)).where(row.kind == kind, row.whole, row.at <= before)
    gone = delete(row).where(row.kind == kind, row.number < wholes.scalar_subquery())
    await session.execute(gone)


async def _number_at(session: AsyncSession, kind: SnapshotKind, at: datetime) -> int | None:
    """The greatest number up to a time; times may not ascend with it, as leaders' clocks differ."""
    row = GuidancePastRow
    return await session.scalar(select(func.max(row.number)).where(row.kind == kind, row.at <= at))


async def _rows(
    session: AsyncSession, kind: SnapshotKind, number: int | None
) -> Sequence[bytes | None]:
    """Contents of the last whole row up to `number` (None: no limit), and of the rows after it."""
    row = GuidancePastRow
    until = [row.kind == kind] if number is None else [row.kind == kind, row.number <= number]
    first = await session.scalar(select(func.max(row.number)).where(*until, row.whole))
    if first is None:
        return ()
    chain = select(row.content).where(*until, row.number >= first).order_by(row.number)
    return (await session.scalars(chain)).all()


async def _decoded(
    rows: Sequence[bytes | None], kind: SnapshotKind, model: type[T]
) -> PastSnapshot[T]:
    """The snapshot that the contents result in, a whole one first; unknown if one is damaged."""
    contents = [each for each in rows if each is not None]
    if not rows or len(contents) < len(rows):
        return PastSnapshot(known=False)
    try:
        return PastSnapshot(True, await asyncio.to_thread(_read, contents, model))
    except _DAMAGED as error:
        log.error("guidance.damaged", kind=kind, reason=f"{type(error).__name__}: {error}"[:200])
        return PastSnapshot(known=False)


def _read(contents: Sequence[bytes], model: type[T]) -> T | None:
    made: dict[str, Any] = {}
    for content in contents:
        for line in zlib.decompress(content).split(b"\n"):
            patch = json.loads(line)
            if patch is None:
                return None
            change(made, patch)
    if model is not Latency:
        return model.model_validate(made, extra="ignore")
    rows = made.pop("prefixes", {})
    # Rows were validated before publication; validating them again takes long. They are sorted as
    # in a published snapshot, because edges name their tables by the digest of what they read.
    prefixes = {name: tuple(rows[name]) for name in sorted(rows, key=parse_prefix)}
    return model.model_validate(made, extra="ignore").model_copy(update={"prefixes": prefixes})


def _whole_row(snapshot: Latency | Prices) -> _Row:
    content = _content(_fields(snapshot))
    return _Row(snapshot.number, snapshot.created_at, whole=True, content=content)


def _fields(snapshot: Latency | Prices) -> dict[str, Any]:
    """The fields as JSON values; the many rows of latency are not converted."""
    fields = snapshot.model_dump(mode="json", exclude={"prefixes"})
    if isinstance(snapshot, Latency):
        fields["prefixes"] = snapshot.prefixes
    return fields


def _content(fields: Mapping[str, Any]) -> bytes:
    return zlib.compress(b"\n".join(_lines(fields)), 1)


def _lines(fields: Mapping[str, Any]) -> Iterator[bytes]:
    """The lines of a row; a line has a limited number of learned prefixes."""
    rest = {name: value for name, value in fields.items() if name != "prefixes"}
    yield json.dumps(rest, separators=(",", ":")).encode()
    rows = iter(fields.get("prefixes", {}).items())
    while some := dict(islice(rows, _LINES_AT_ONCE)):
        yield json.dumps({"prefixes": some}, separators=(",", ":")).encode()
