"""Passes on the round trips that browsers measured, every ten seconds."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from datetime import datetime

from firsthop.edge.reporting.posting import Poster
from firsthop_steering.feed.sample_queue import SampleUploadQueue

REPORT_S = 10.0


class EdgeSampleReporter:
    """Tells the control plane what is on a board."""

    def __init__(
        self, poster: Poster, board: SampleUploadQueue, *, now: Callable[[], datetime]
    ) -> None:
        self._poster = poster
        self._board = board
        self._now = now

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311
            await self.tell()

    async def tell(self) -> None:
        """All there is, unless a batch is not taken."""
        while (batch := self._board.due(self._now(), secrets.token_urlsafe(12))) is not None:
            posted = await self._poster.post("/v1/measurements", batch.model_dump_json())
            if posted.refused:  # a relay that is no more, say: it would be refused for ever
                self._board.ended("refused")
            elif posted.error:
                return
            else:
                self._board.ended("told")
