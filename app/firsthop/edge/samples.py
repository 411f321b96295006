"""Passes on the round trips that browsers measured, every ten seconds, in named batches.

While the control plane is away they wait, up to a number and an age; the oldest go first. A batch
is sent again under its name until it is taken, so that none counts twice.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from firsthop.edge.posting import Poster
from firsthop_steering.measurements import MOST_SAMPLES, Sample, SampleBatch

REPORT_S = 10.0
MOST_WAITING = 50_000
"""12 MB; a control plane that is back is told all of it within a second."""
OLDEST_S = 600.0
"""The control plane takes none that are older than 15 minutes, and refuses a batch whole."""

Row = tuple[str, str, float, float]
"""Prefix of the client, relay, ms, and when, in seconds since 1970."""


class SampleBoard:
    """What waits to be told, and the batch that is being told."""

    def __init__(self) -> None:
        self.results = Counter(told=0, overflowed=0, old=0, refused=0)
        """Samples by what became of them; those that are `waiting` are still to come."""
        self._waiting: deque[Row] = deque()
        self._batch: SampleBatch | None = None

    @property
    def waiting(self) -> int:
        """How many are held."""
        return len(self._waiting) + (len(self._batch.samples) if self._batch else 0)

    def note(self, rows: Iterable[Row]) -> None:
        """What the allocator's process has taken."""
        self._waiting.extend(rows)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.results["overflowed"] += 1

    def due(self, now: datetime) -> SampleBatch | None:
        """The batch to tell now: the one that was not taken, or a new one of the oldest."""
        oldest = now.timestamp() - OLDEST_S
        if self._batch is not None and self._batch.samples[0].at.timestamp() < oldest:
            self.ended("old")
        while self._waiting and self._waiting[0][3] < oldest:
            self._waiting.popleft()
            self.results["old"] += 1
        if self._batch is None and self._waiting:
            count = min(len(self._waiting), MOST_SAMPLES)
            samples = tuple(_sample(*self._waiting.popleft()) for _ in range(count))
            self._batch = SampleBatch(batch=secrets.token_urlsafe(12), samples=samples)
        return self._batch

    def ended(self, result: str) -> None:
        """This became of the batch."""
        if self._batch is not None:
            self.results[result] += len(self._batch.samples)
            self._batch = None


def _sample(client: str, relay: str, rtt_ms: float, at: float) -> Sample:
    when = datetime.fromtimestamp(at, UTC)
    fields = {"client": client, "relay": relay, "rtt_ms": rtt_ms, "at": when}
    return Sample.model_validate(fields)


class SampleReporter:
    """Tells the control plane what is on a board."""

    def __init__(self, poster: Poster, board: SampleBoard, *, now: Callable[[], datetime]) -> None:
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
        while (batch := self._board.due(self._now())) is not None:
            posted = await self._poster.post("/v1/measurements", batch.model_dump_json())
            if posted.refused:  # a relay that is no more, say: it would be refused for ever
                self._board.ended("refused")
            elif posted.error:
                return
            else:
                self._board.ended("told")
