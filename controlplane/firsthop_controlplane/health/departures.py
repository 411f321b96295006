"""Removes transceivers that registered themselves and have stopped reporting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.revisions import Revisions
from firsthop_controlplane.errors import Refused
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.tables import TransceiverRow

log = structlog.get_logger(__name__)
EVERY_S = 60.0
ACTOR = Actor("firsthop")


class Departures:
    """Checks once a minute, on the replica that leads."""

    def __init__(
        self,
        revisions: Revisions,
        feed: Feed,
        health: Callable[[], HealthState],
        *,
        may_remove: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        """`health` returns the health state of the present leadership."""
        self._revisions = revisions
        self._feed = feed
        self._health = health
        self._may_remove = may_remove
        self._now = now

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except Refused as error:
                log.warning("departure.refused", reason=error.detail)
            except Exception as error:
                if not unavailable(error):
                    log.exception("departure.failed")

    async def look(self) -> None:
        """Remove all transceivers that are gone now, in one revision; raises the store's errors."""
        plan = self._feed.plan
        if plan is None or not self._may_remove():
            return
        names = self._health().transceivers.gone(plan.document.transceivers, self._now())
        if not names:
            return

        async def remove(session: AsyncSession) -> None:
            for name in names:
                row = await session.get(TransceiverRow, name)
                if row is not None and row.registered:
                    await session.delete(row)

        message = f"no report for a day: {', '.join(names)}"
        # Not guarded: they have been down for a day, so this moves no client.
        await self._revisions.change(remove, ACTOR, message=message, removes=True, force=True)
        log.info("transceivers.removed", transceivers=names)
