"""The fields of reports beside the load: sequence, drain, and planned stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any


class Notices:
    """What an agent reports beside load: whether it drains, when it stops, and a sequence number.

    The sequence starts from the clock, so it also rises over restarts.
    """

    def __init__(self, wall: Callable[[], datetime], *, draining: bool = False) -> None:
        self.draining = draining
        self.stops_at: datetime | None = None
        self.changed = asyncio.Event()
        """Set when a report should be sent at once."""
        self._wall = wall
        self._sequence = int(wall().timestamp() * 1000)

    def drain(self, draining: bool) -> bool:
        """Report that new sessions are refused, or taken again; returns whether it changed."""
        if draining == self.draining:
            return False
        self.draining = draining
        self.changed.set()
        return True

    def stop(self, at: datetime) -> None:
        """Report a drain, and a stop at `at`."""
        self.draining, self.stops_at = True, at
        self.changed.set()

    def stamp(self) -> dict[str, Any]:
        """The fields of the next report."""
        self._sequence += 1
        return {
            "sequence": self._sequence,
            "sent_at": self._wall(),
            "draining": self.draining,
            "stops_at": self.stops_at,
        }
