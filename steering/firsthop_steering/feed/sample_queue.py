"""Samples that wait to be told to the control plane, in named batches. No clock, no chance.

While the control plane is away they wait, up to a number and an age; the oldest go first. A batch
is given again under its name until somebody says what became of it, so that none counts twice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from firsthop_steering.feed.measurements import MAX_SAMPLES, Sample, SampleBatch

MAX_WAITING = 50_000
"""12 MB; a control plane that is back is told all of it within a second."""
OLDEST_S = 600.0
"""The control plane takes none that are older than 15 minutes, and refuses a batch whole."""


class SampleRow(NamedTuple):
    """A `Sample`, in little memory."""

    client: str
    """Prefix of the client."""
    relay: str
    rtt_ms: float
    at: float
    """Seconds since 1970."""


class SampleUploadQueue:
    """What waits to be told, and the batch that is being told."""

    def __init__(self) -> None:
        self.results = Counter(told=0, overflowed=0, old=0, refused=0)
        """Samples by what became of them; those that are `waiting` are still to come."""
        self._waiting: deque[SampleRow] = deque()
        self._batch: SampleBatch | None = None

    @property
    def waiting(self) -> int:
        """How many are held."""
        return len(self._waiting) + (len(self._batch.samples) if self._batch else 0)

    def note(self, rows: Iterable[SampleRow]) -> None:
        """What was measured, and would be taken for a `Sample`."""
        self._waiting.extend(rows)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.results["overflowed"] += 1

    def due(self, now: datetime, name: str) -> SampleBatch | None:
        """The batch to tell now: the one that was not taken, or one of the oldest by this name."""
        oldest = now.timestamp() - OLDEST_S
        if self._batch is not None and _age(self._batch) < oldest:
            self.ended("old")
        if self._batch is None and (rows := self._first(oldest)):
            self._batch = SampleBatch(batch=name, samples=tuple(map(_sample, rows)))
        return self._batch

    def ended(self, result: str) -> None:
        """This became of the batch."""
        if self._batch is not None:
            self.results[result] += len(self._batch.samples)
            self._batch = None

    def _first(self, oldest: float) -> list[SampleRow]:
        rows: list[SampleRow] = []
        while self._waiting and len(rows) < MAX_SAMPLES:
            row = self._waiting.popleft()
            if row.at < oldest:
                self.results["old"] += 1
            else:
                rows.append(row)
        return rows


def _age(batch: SampleBatch) -> float:
    """When its oldest sample was measured: those of several sources are not in order."""
    return min(each.at.timestamp() for each in batch.samples)


def _sample(row: SampleRow) -> Sample:
    return Sample.model_validate({**row._asdict(), "at": datetime.fromtimestamp(row.at, UTC)})
