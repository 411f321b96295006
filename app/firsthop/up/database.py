"""The embedded database server of a deployment, which is kept running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from firsthop.postgres.server import EmbeddedPostgres, PostgresError

RETRY_S = 5.0
"""Delay after a failed restart."""


class EmbeddedDatabase:
    """An embedded server that is restarted if it dies."""

    def __init__(self, state_dir: Path, say: Callable[[str], None]) -> None:
        self._server = EmbeddedPostgres(state_dir)
        self._say = say
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start the server; returns its URL. Raises PostgresError."""
        await self._server.start()
        self._keeping = asyncio.create_task(self._keep())
        return self._server.url

    async def stop(self) -> None:
        """Stop the server, if it was started."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._server.stop()

    async def _keep(self) -> None:
        while True:
            await self._server.died()
            self._say("PostgreSQL ended; starting it again")
            await self._restart()

    async def _restart(self) -> None:
        while True:
            await self._server.stop()
            try:
                await self._server.start()
            except (PostgresError, OSError) as error:
                self._say(f"PostgreSQL cannot be started: {error}")
                await asyncio.sleep(RETRY_S)
            else:
                return
