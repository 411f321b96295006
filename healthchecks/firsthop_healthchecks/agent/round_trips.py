"""Reads the round trips to clients that a relay measured, from its `/samples`.

Relays of other vendors may not serve them; that is not logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from aiohttp import ClientError, ClientSession, ClientTimeout

from firsthop_healthchecks.clock import utc_now
from firsthop_steering.feed.measurements import Sample
from firsthop_steering.feed.sample_queue import OLDEST_S, SampleRow, SampleUploadQueue

EVERY_S = 10.0
TIMEOUT_S = 1.0
MAX_ROWS = 1000
"""Rows read at once; a relay keeps no more."""


class RelayRoundTrips:
    """The round trips of one relay, each read once."""

    def __init__(
        self,
        relay: str,
        url: str,
        session: ClientSession,
        *,
        board: SampleUploadQueue,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """`relay` is the relay's id, `url` its `/samples`; earlier round trips are left out."""
        self._relay = relay
        self._url = url
        self._session = session
        self._board = board
        self._wall = wall
        self._since = wall().timestamp()

    async def run(self) -> NoReturn:
        """Read every 10 s until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(EVERY_S)

    async def read(self) -> None:
        """Queue the new rows for upload; invalid ones are left out."""
        oldest = self._wall().timestamp() - OLDEST_S
        for row in await self._rows(max(self._since, oldest)):
            with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
                self._since = max(self._since, row["at"])  # unrounded, unlike a datetime
                when = datetime.fromtimestamp(row["at"], UTC)
                read = Sample.model_validate({**row, "relay": self._relay, "at": when})
                self._board.note([SampleRow(str(read.client), self._relay, read.rtt_ms, row["at"])])

    async def _rows(self, since: float) -> list[dict[str, Any]]:
        """The relay's rows, the oldest first; none if it does not answer as expected."""
        try:
            timeout = ClientTimeout(total=TIMEOUT_S)
            query = {"since": repr(since)}
            async with self._session.get(self._url, params=query, timeout=timeout) as response:
                response.raise_for_status()
                rows = (await response.json())["samples"]
            return list(rows)[-MAX_ROWS:]
        except (ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
            return []
