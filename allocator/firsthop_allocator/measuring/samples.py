"""RTT samples of browsers, queued for upload.

From here on only the client's prefix and the ticket's proof are kept, for privacy; of the address
the proof has a keyed hash of 3 bits, the seat.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice

from firsthop_steering.feed.demand import prefix_text

MAX_WAITING = 5000
"""Maximum number of samples that wait for the edge, which takes 250 a second; some 2 MB."""

MeasuredRow = tuple[str, str, float, float, str]
"""The client's prefix, the relay's id, the round trip in ms, the time in seconds since 1970, and
the proof of the ticket."""


class SampleQueue:
    """Samples that wait for upload; if there are too many, the oldest are dropped."""

    def __init__(self) -> None:
        self.results = Counter(taken=0, limited=0, overflowed=0)
        """Number of samples by result; an `overflowed` sample was counted as `taken` before."""
        self._waiting: deque[MeasuredRow] = deque()

    def put(
        self, prefix: int, measured: Iterable[tuple[str, float]], at: float, proof: str
    ) -> None:
        """Add round trips (relay, ms) that a client measured with a ticket."""
        rows = [(prefix_text(prefix), relay, rtt_ms, at, proof) for relay, rtt_ms in measured]
        self.results["taken"] += len(rows)
        self._waiting.extend(rows)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.results["overflowed"] += 1

    def first(self, limit: int) -> list[MeasuredRow]:
        """The oldest samples, `limit` at most; they stay in the queue until `passed` is called."""
        return list(islice(self._waiting, limit))

    def passed(self, rows: int) -> None:
        """Remove the `rows` oldest samples, which the edge has taken over."""
        for _ in range(rows):
            self._waiting.popleft()
