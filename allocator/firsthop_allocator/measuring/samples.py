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
"""Samples; more than an edge passes on in a minute, and half a megabyte."""

MeasuredRow = tuple[str, str, float, float]
"""Prefix of the client, relay, ms, and when, in seconds since 1970."""


def prefix_number(address: Address) -> int:
    """The number of a client's /24 or /48."""
    family, key, _ = normalise(address)
    return prefix_of(family, key)


class SampleQueue:
    """Samples that are not taken yet; when there are too many, the oldest are dropped."""

    def __init__(self) -> None:
        self.results = Counter(taken=0, limited=0, overflowed=0)
        """Samples by result; `overflowed` ones were counted as taken before."""
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
        """The oldest samples, which stay until `passed`."""
        return list(islice(self._waiting, limit))

    def passed(self, rows: int) -> None:
        """Remove so many of the oldest, as they were taken."""
        for _ in range(rows):
            self._waiting.popleft()
