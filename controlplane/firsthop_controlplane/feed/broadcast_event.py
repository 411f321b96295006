"""Wakes everybody who waits for something to have changed."""

from __future__ import annotations

import asyncio


class BroadcastEvent:
    """Rung when something may have changed; whoever heard it looks for himself."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now; those who come later wait for the next time."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def heard(self) -> None:
        """Return when it is rung."""
        await self._rung.wait()
