"""How tokens are used: how often requests with each were accepted or refused, and why.

Counted in memory, since requests of machines must not wait for the database, and added to the
store every minute by every replica.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from firsthop_controlplane.access.tokens import REPLICAS, Principal
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.ledger import TokenUseRow

log = structlog.get_logger(__name__)
ACCEPTED = "accepted"
EXPIRED, UNKNOWN = "expired", "unknown"
REFUSALS = frozenset(
    {EXPIRED, UNKNOWN, "forbidden", "malformed", "invalid"}
    | {"too-large", "too-slow", "too-many", "unsupported-media-type"}
)
"""Reasons that a well-behaved caller does not meet; the other problems belong to normal use."""
SAVE_S = 60.0
ABUSE_AFTER = 20
"""Number of refusals within ABUSE_WITHIN that count as abuse."""
ABUSE_WITHIN = timedelta(minutes=1)
_SAVE = text(
    "INSERT INTO token_use (token, outcome, count, last_at)"
    " SELECT id, :outcome, :count, :last_at FROM token WHERE id = :token"
    " ON CONFLICT (token, outcome) DO UPDATE SET count = token_use.count + excluded.count,"
    " last_at = greatest(token_use.last_at, excluded.last_at)"
)


class Use(NamedTuple):
    """How often something happened, and when it did last."""

    times: int
    last_at: datetime

    def plus(self, other: Use | None) -> Use:
        """Both together."""
        if other is None:
            return self
        return Use(self.times + other.times, max(self.last_at, other.last_at))


class _Window(NamedTuple):
    """The refusals of one caller since the window began."""

    times: int
    began_at: datetime


Uses = dict[str, dict[str, Use]]
"""By id of the token, and by outcome."""


class TokenUses:
    """The uses since the last save, and the totals of this process for metrics."""

    def __init__(self) -> None:
        self.refusals: Counter[tuple[str, str]] = Counter()
        """By role (empty for callers without a known token) and reason."""
        self.abuses: Counter[str] = Counter()
        """How often a caller was refused repeatedly, by role."""
        self._unsaved: Uses = {}
        self._windows: dict[str, _Window] = {}
        """By id of the token; empty for callers without a known token."""

    def used(self, principal: Principal | None, now: datetime) -> None:
        """Count a request that a token allows."""
        if principal is not None and principal.role not in REPLICAS:
            self._count(principal, ACCEPTED, now)

    def refused(
        self, principal: Principal | None, kind: str, now: datetime, *, peer: str | None
    ) -> None:
        """Count a refused request; `kind` is its problem's."""
        reason = kind
        if kind == "unauthorized":
            reason = UNKNOWN if principal is None else EXPIRED
        if reason not in REFUSALS:
            return
        self.refusals[principal.role if principal else "", reason] += 1
        if principal is not None:
            self._count(principal, reason, now)
        self._watch(principal, reason, now, peer)

    def _count(self, principal: Principal, outcome: str, now: datetime) -> None:
        _add(self._unsaved, principal.id, outcome, Use(1, now))

    def _watch(
        self, principal: Principal | None, reason: str, now: datetime, peer: str | None
    ) -> None:
        """Report a caller once per window if it is refused too often."""
        key, name, role = "", "", ""
        if principal is not None:
            key, name, role = principal.id, principal.name, principal.role
        window = self._windows.get(key, _Window(0, now))
        if abs(now - window.began_at) >= ABUSE_WITHIN:
            window = _Window(0, now)
        self._windows[key] = _Window(window.times + 1, window.began_at)
        if window.times + 1 == ABUSE_AFTER:
            self.abuses[role] += 1
            log.warning("token.abused", token=name, role=role, last_reason=reason, peer=peer)

    async def of(self, session: AsyncSession, tokens: Collection[str]) -> Uses:
        """The uses of these tokens: those in the store, and those not saved yet."""
        query = select(TokenUseRow).where(TokenUseRow.token.in_(tokens))
        found: Uses = {}
        for row in await session.scalars(query):
            _add(found, row.token, row.outcome, Use(row.count, row.last_at))
        for token in tokens:
            for outcome, use in self._unsaved.get(token, {}).items():
                _add(found, token, outcome, use)
        return found

    async def save(self, engine: AsyncEngine) -> None:
        """Add the uses since the last save to the store; raises its errors, and keeps them then."""
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        rows = [
            {"token": token, "outcome": outcome, "count": use.times, "last_at": use.last_at}
            for token, uses in sorted(unsaved.items())
            for outcome, use in uses.items()
        ]
        try:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(_SAVE, rows)
        except BaseException:
            for token, uses in unsaved.items():
                for outcome, use in uses.items():
                    _add(self._unsaved, token, outcome, use)
            raise

    async def save_always(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        """Save every minute until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self.save(engine)
            except Exception as error:
                if not unavailable(error):
                    log.exception("token_use.save_failed")
            self._forget_windows(now())

    def _forget_windows(self, now: datetime) -> None:
        self._windows = {
            key: each
            for key, each in self._windows.items()
            if abs(now - each.began_at) < ABUSE_WITHIN
        }


def _add(uses: Uses, token: str, outcome: str, use: Use) -> None:
    of_token = uses.setdefault(token, {})
    of_token[outcome] = use.plus(of_token.get(outcome))
