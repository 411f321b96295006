"""Revisions: the only way to change the configuration.

An advisory lock serialises changes. One transaction contains the change, the check of the whole
document after it, the revision, the audit and the notification; a refused change leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.bodies.documents import MAX_MESSAGE
from firsthop_controlplane.configuration import wire_ids
from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.change_impact import ChangeImpact
from firsthop_controlplane.configuration.differences import (
    Difference,
    differences,
    repeated_records,
    summary,
)
from firsthop_controlplane.errors import BrokenRule, Unavailable, conflict, invalid, not_found
from firsthop_controlplane.store.configuration import (
    TRANSCEIVER_REGIONS,
    TRANSCEIVERS,
    load_document,
    replace_document,
)
from firsthop_controlplane.store.ledger import AuditRow, RevisionRow
from firsthop_controlplane.store.tables import Configured, RecordRow
from firsthop_steering.plan.admission import admission_problems
from firsthop_steering.plan.document import Document, duplicates, problems_in
from firsthop_steering.whatif.simulation import Simulation
from firsthop_zones.model import Model

CHANNEL = "firsthop"
"""The channel of NOTIFY; its payload is what changed: revision, tokens or keys."""
MAX_WAITING = 64
"""Changes that may wait for their turn in this process."""
TURN_TIMEOUT_S = 10.0
"""How long a change waits for its turn, in seconds; then it is refused with 503."""
CHANGE_LOCK = 0x6669727374686F70  # "firsthop"

T = TypeVar("T")
ChangeOperation = Callable[[AsyncSession], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class ChangeOutcome(Generic[T]):
    """The result of a change; `revision` is None if nothing changed, or on a dry run."""

    value: T
    changes: tuple[Difference, ...]
    revision: int | None
    document: Document
    effects: tuple[Simulation, ...] | None
    """How clients move; None if there is no geo data."""


class Revisions:
    """The revisions of one store."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        change_impact: ChangeImpact,
        *,
        allow_loopback: bool = False,
    ) -> None:
        """`allow_loopback`: whether loopback addresses may be configured."""
        self._allow_loopback = allow_loopback
        self._engine = engine
        self._now = now
        self._change_impact = change_impact
        self._turn = asyncio.Lock()
        self._waiting = 0

    def session(self) -> AsyncSession:
        """A session of this store; see `open_session`."""
        return open_session(self._engine)

    async def change(
        self,
        operation: ChangeOperation[T],
        actor: Actor,
        *,
        message: str = "",
        dry_run: bool = False,
        removes: bool = False,
        force: bool = False,
    ) -> ChangeOutcome[T]:
        """Run `operation` on the tables and commit what it did as a revision.

        Raises Refused: 422 with every broken rule; 409 if the operation `removes` something that
        other objects refer to, or moves too many clients without `force`. Raises Unavailable if its
        turn does not come.
        """
        async with self._in_turn(), self.session() as session, session.begin() as transaction:
            await lock(session)
            parent = await newest_number(session)
            before = await load_document(session)
            value = await operation(session)
            faults = await wire_ids.assign(session)
            _stamp(session, parent + 1)
            after = await _flushed(session, before, faults)
            faults += self._inadmissible(before, after)
            _check(before, after, faults, removes=removes)
            changes = differences(before, after)
            effects = await self._change_impact.compare(before, after, parent)
            if not changes or dry_run:
                session.expunge_all()  # the caller's rows stay readable
                await transaction.rollback()
                return ChangeOutcome(value, changes, None, after, effects)
            if not force:
                self._change_impact.guard(effects)
            at = self._now()
            session.add(_revision(parent, actor, message or summary(changes), after, at))
            await _add_audit(session, changes, actor, parent + 1, at)
            await notify(session, "revision")
        return ChangeOutcome(value, changes, parent + 1, after, effects)

    def _inadmissible(self, before: Document, after: Document) -> Iterator[BrokenRule]:
        """What must not enter the configuration; what is there from an older release may stay."""
        known = {*admission_problems(before, allow_loopback=self._allow_loopback)}
        for each in admission_problems(after, allow_loopback=self._allow_loopback):
            if each not in known:
                yield BrokenRule(each.field, each.rule)

    @contextlib.asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Holds this process's turn to change the configuration.

        A change that waits has no database connection, so that reads always find one. Raises
        Unavailable if too many changes wait, or for too long.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable("too many other changes are waiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("other changes are under way") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    async def apply(
        self,
        target: Document,
        actor: Actor,
        *,
        message: str = "",
        dry_run: bool = False,
        force: bool = False,
        base: Callable[[int], None] | None = None,
    ) -> ChangeOutcome[None]:
        """Replace the whole configuration with `target`.

        `base` is called with the newest revision's number; it raises Refused if `target` was
        derived from another revision.
        """
        if repeated := [BrokenRule(each.field, each.rule) for each in duplicates(target)]:
            raise invalid(repeated)  # in the store one would replace the other

        async def replace(session: AsyncSession) -> None:
            if base is not None:
                base(await newest_number(session))
            await replace_document(session, target)

        return await self.change(replace, actor, message=message, dry_run=dry_run, force=force)

    async def restore(
        self, number: int, actor: Actor, *, force: bool = False
    ) -> ChangeOutcome[None]:
        """Restore the configuration of revision `number`; present wire ids are kept."""

        async def replace(session: AsyncSession) -> None:
            row = await session.get(RevisionRow, number)
            if row is None:
                raise not_found(f"there is no revision {number}")
            target = Document.model_validate(row.document)
            await replace_document(session, _present_wire_ids(target, await load_document(session)))

        message = f"restore revision {number}"
        return await self.change(replace, actor, message=message, force=force)


def open_session(engine: AsyncEngine) -> AsyncSession:
    """A session without autoflush, whose rows stay readable after the commit."""
    return AsyncSession(engine, expire_on_commit=False, autoflush=False)


async def lock(session: AsyncSession) -> None:
    """Take the lock for changes of the store; held until the transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CHANGE_LOCK})


async def notify(session: AsyncSession, payload: str) -> None:
    """Notify every replica, at the commit."""
    await session.flush()
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
    )


async def newest_number(session: AsyncSession) -> int:
    """The newest revision's number; 0 if there is none."""
    return await session.scalar(select(func.max(RevisionRow.number))) or 0


def _stamp(session: AsyncSession, number: int) -> None:
    for row in (*session.new, *session.dirty):
        if isinstance(row, Configured) and session.is_modified(row):
            row.version = number


async def _flushed(session: AsyncSession, before: Document, faults: list[BrokenRule]) -> Document:
    """The document after the change, as read from the database."""
    if faults:
        raise invalid(faults)
    await session.flush()
    for row in [*session]:
        if not isinstance(row, RecordRow):  # records are read as values, not as rows
            session.expire(row)
    return await load_document(session, before)


def _check(before: Document, after: Document, faults: list[BrokenRule], *, removes: bool) -> None:
    problems = [BrokenRule(problem.field, problem.rule) for problem in problems_in(after)]
    if problems and removes:
        users = sorted({"/".join(fault.field.split("/")[:2]) for fault in problems})
        raise conflict(f"it is in use by {', '.join(users)}", problems)
    faults += [*problems, *repeated_records(after), *wire_ids.changed(before, after)]
    if faults:
        raise invalid(faults)


def _revision(
    parent: int, actor: Actor, message: str, document: Document, at: datetime
) -> RevisionRow:
    return RevisionRow(
        number=parent + 1,
        parent=parent,
        author=actor.name,
        message=message[:MAX_MESSAGE],
        created_at=at,
        document=document.model_dump(mode="json"),
        digest=document.digest(),
    )


def audit(
    actor: Actor,
    action: str,
    name: str,
    at: datetime,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
    revision: int | None = None,
) -> AuditRow:
    """An audit row: who changed which object, and how."""
    return AuditRow(
        at=at,
        author=actor.name,
        address=actor.address,
        request=actor.request,
        action=action,
        object=name,
        before=before,
        after=after,
        revision=revision,
    )


async def _add_audit(
    session: AsyncSession,
    changes: tuple[Difference, ...],
    actor: Actor,
    number: int,
    at: datetime,
) -> None:
    rows = [
        {
            "at": at,
            "author": actor.name,
            "address": actor.address,
            "request": actor.request,
            "action": each.action,
            "object": each.object,
            "before": each.before,
            "after": each.after,
            "revision": number,
        }
        for each in changes
    ]
    await session.execute(insert(AuditRow), rows)


def _present_wire_ids(target: Document, present: Document) -> Document:
    """`target` with the present wire ids of its objects: credentials in use contain them."""
    parts: dict[str, tuple[Model, ...]] = {}
    for collection in (TRANSCEIVER_REGIONS, TRANSCEIVERS):
        now = {each.id: each.wire_id for each in getattr(present, collection.name)}
        parts[collection.name] = tuple(
            each.model_copy(update={"wire_id": now.get(each.id, each.wire_id)})
            for each in getattr(target, collection.name)
        )
    return target.model_copy(update=parts)
