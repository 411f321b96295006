"""RTT samples queued for upload to the control plane, in named batches. Time is an argument.

While no control plane is reachable, samples are kept up to a number and an age; the oldest are
dropped first. A batch is uploaded again under the same name until its result is known, so that it
never counts twice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from firsthop_steering.feed.measurements import MAX_SAMPLES, Sample, SampleBatch

MAX_WAITING = 50_000
"""Maximum number of samples kept: 12 MB, which can be uploaded within a second once a control plane
is reachable."""
OLDEST_S = 600.0
"""Age at which samples are dropped. The control plane refuses a whole batch if one of its samples
is older than 15 minutes."""


class SampleRow(NamedTuple):
    """A compact `Sample`."""

    client: str
    """Prefix of the client."""
    relay: str
    rtt_ms: float
    at: float
    """Seconds since 1970."""
    proof: str | None = None
    """The proof of a browser's ticket."""


class SampleUploadQueue:
    """Samples waiting for upload, and the batch being uploaded."""

    def __init__(self) -> None:
        self.results = Counter(told=0, overflowed=0, old=0, refused=0)
        """Number of samples by result; those still `waiting` are not counted."""
        self._waiting: deque[SampleRow] = deque()
        self._batch: SampleBatch | None = None

    @property
    def waiting(self) -> int:
        """Number of samples held, including the batch being uploaded."""
        return len(self._waiting) + (len(self._batch.samples) if self._batch else 0)

    def note(self, rows: Iterable[SampleRow]) -> None:
        """Adds samples; each row must be a valid `Sample`."""
        self._waiting.extend(rows)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.results["overflowed"] += 1

    def due(self, now: datetime, name: str) -> SampleBatch | None:
        """The batch to upload: the pending one, or a new one (`name`) of the oldest samples."""
        oldest = now.timestamp() - OLDEST_S
        if self._batch is not None and _age(self._batch) < oldest:
            self.ended("old")
        if self._batch is None and (rows := self._first(oldest)):
            self._batch = SampleBatch(batch=name, samples=tuple(map(_sample, rows)))
        return self._batch

    def ended(self, result: str) -> None:
        """Records the result of the pending batch."""
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
    """Time of the batch's oldest sample; samples of several sources are not in order."""
    return min(each.at.timestamp() for each in batch.samples)


def _sample(row: SampleRow) -> Sample:
    return Sample.model_validate({**row._asdict(), "at": datetime.fromtimestamp(row.at, UTC)})
