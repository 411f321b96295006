"""What was in force at a past time: plan, status, prices and latency, if they are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import BrokenRule, Unavailable, malformed, not_found
from firsthop_controlplane.health.relay_history import relays_at
from firsthop_controlplane.history.guidance_log import PastSnapshot
from firsthop_controlplane.store.ledger import RevisionRow
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import AwareTime

_TIME: TypeAdapter[datetime] = TypeAdapter(AwareTime)
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Moment:
    """What was in force at a time."""

    time: datetime
    plan: Plan
    status: Status | None
    """None: no longer known, or not yet made at that time."""
    prices: PastSnapshot[Prices]
    latency: PastSnapshot[Latency]

    @property
    def guidance(self) -> Guidance:
        """The prices and latency that edges had, if they are known."""
        return Guidance(self.prices.snapshot, self.latency.snapshot)

    def to_json(self) -> dict[str, Any]:
        """This moment as it is shown in explanations."""
        return {
            "time": self.time.isoformat(),
            "revision": self.plan.number,
            "status_known": self.status is not None,
            "prices_known": self.prices.known,
            "latency_known": self.latency.known,
        }


async def moment(deps: Deps, text: str) -> Moment:
    """What was in force at a time (RFC 3339), or when the revision with this number was made.

    Raises Refused: 400 if `text` is neither, or in the future; 404 if there was no plan.
    """
    present = deps.feed.plan
    if present is None:
        raise Unavailable("no plan has been read yet")
    query = select(RevisionRow).order_by(RevisionRow.number.desc()).limit(1)
    time: datetime | None = None
    if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        query = query.where(RevisionRow.number == int(text))
    else:
        time = _time(text, deps.now())
        query = query.where(RevisionRow.created_at <= time)
    async with deps.revisions.session() as session:
        row = await session.scalar(query)
        if row is None:
            there_is = f"no revision {text}" if time is None else f"no revision as old as {text}"
            raise not_found(f"there is {there_is}")
        time = time or row.created_at
        since = deps.now() - timedelta(days=deps.settings.past_kept_days)
        known = await relays_at(session, time) if time >= since else None
    prices: PastSnapshot[Prices] = PastSnapshot(known=False)
    latency: PastSnapshot[Latency] = PastSnapshot(known=False)
    if time >= since:
        guidance = deps.feed.guidance.within(present.lineage)
        prices = await deps.guidance_history.snapshot_at(Prices, time, guidance.prices)
        latency = await deps.guidance_history.snapshot_at(Latency, time, guidance.latency)
    plan = present
    if row.number != present.number:
        plan = Plan(
            number=row.number,
            lineage=present.lineage,
            created_at=row.created_at,
            document=Document.model_validate(row.document),
        )
    status = None
    if known is not None:
        number, relays = known
        status = Status(
            number=number, lineage=present.lineage, created_at=time, relays=dict(relays)
        )
    return Moment(time, plan, status, prices, latency)


def _time(text: str, now: datetime) -> datetime:
    try:
        time = _TIME.validate_python(text)
    except ValidationError:
        rule = "must be a revision's number, or a time with its offset from UTC (RFC 3339)"
        raise malformed(f"at: {rule}", [BrokenRule("at", rule)]) from None
    if time > now:
        raise malformed("at: is in the future", [BrokenRule("at", "is in the future")])
    return time
