"""An asyncio event that wakes everyone who waits, and is then unset again."""

from __future__ import annotations

import asyncio


class BroadcastEvent:
    """Notified when something may have changed; each waiter looks for itself what did."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake everyone who waits now; later waiters wait for the next call."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Return at the next `notify`."""
        await self._event.wait()
