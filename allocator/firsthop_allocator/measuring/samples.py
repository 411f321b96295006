"""RTT samples of browsers, queued for upload.

From here on only the client's prefix is kept, for privacy.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice

from firsthop_geodata.addresses import Address
from firsthop_geodata.prefixes import normalise
from firsthop_steering.feed.demand import prefix_text
from firsthop_steering.rtt.samples import prefix_of

MAX_WAITING = 5000
"""Most samples that wait: more than an edge uploads in a minute; they take half a megabyte."""

MeasuredRow = tuple[str, str, float, float]
"""The client's prefix, the relay's id, the round trip in ms, and the time in seconds since 1970."""


def prefix_number(address: Address) -> int:
    """The number of a client's /24 or /48."""
    family, key, _ = normalise(address)
    return prefix_of(family, key)


class SampleQueue:
    """Samples that wait for upload; if there are too many, the oldest are dropped."""

    def __init__(self) -> None:
        self.results = Counter(taken=0, limited=0, overflowed=0)
        """Number of samples by result; an `overflowed` sample was counted as `taken` before."""
        self._waiting: deque[MeasuredRow] = deque()

    def put(self, prefix: int, measured: Iterable[tuple[str, float]], at: float) -> None:
        """Add round trips (relay, ms) that a client measured."""
        rows = [(prefix_text(prefix), relay, rtt_ms, at) for relay, rtt_ms in measured]
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
