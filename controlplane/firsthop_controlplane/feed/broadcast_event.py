"""An asyncio event that wakes all waiting tasks and is then unset again."""

from __future__ import annotations

import asyncio


class BroadcastEvent:
    """Notified if something may have changed; each waiting task checks what did."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all tasks that wait now; tasks that wait later need the next call."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Return at the next `notify`."""
        await self._event.wait()
