"""How often something may be done: a token bucket a key. No clock: time is an argument."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    """What a key has left, as of a time."""

    left: float
    at: float


class TokenBuckets:
    """So many at once, and one more in so many seconds; whoever was silent longest is forgotten."""

    def __init__(self, *, at_once: int, every_s: float, max_keys: int) -> None:
        self._at_once = at_once
        self._every_s = every_s
        self._max_keys = max_keys
        self._buckets: dict[Hashable, _Bucket] = {}

    def wait_s(self, key: Hashable, now: float) -> int:
        """0 if it may be done now, which is then counted; else whole seconds until it may."""
        bucket = self._buckets.pop(key, None) or _Bucket(self._at_once, now)
        gained = max(0.0, now - bucket.at) / self._every_s
        bucket.left, bucket.at = min(self._at_once, bucket.left + gained), now
        self._buckets[key] = bucket  # at the end: the first is the one longest unheard of
        if len(self._buckets) > self._max_keys:
            del self._buckets[next(iter(self._buckets))]
        if bucket.left < 1:
            return max(1, math.ceil((1 - bucket.left) * self._every_s))
        bucket.left -= 1
        return 0
