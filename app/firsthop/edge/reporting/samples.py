"""Uploads the round trips that browsers measured, every ten seconds."""

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
    """Uploads the samples of a queue."""

    def __init__(
        self, poster: Poster, queue: SampleUploadQueue, *, now: Callable[[], datetime]
    ) -> None:
        self._poster = poster
        self._queue = queue
        self._now = now

    async def run(self) -> None:
        """Upload until cancelled."""
        while True:
            await asyncio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311
            await self.upload()

    async def upload(self) -> None:
        """Upload batch by batch, until the queue is empty or a batch fails."""
        while (batch := self._queue.due(self._now(), secrets.token_urlsafe(12))) is not None:
            posted = await self._poster.post("/v1/measurements", batch.model_dump_json())
            if posted.refused:  # forever: a sample's relay was deleted, for example
                self._queue.ended("refused")
            elif posted.error:
                return
            else:
                self._queue.ended("told")
