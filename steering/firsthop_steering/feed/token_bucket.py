"""Rate limiting by one token bucket per key. Time is an argument."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    """The tokens that one key had left at time `at`."""

    left: float
    at: float


class TokenBuckets:
    """Token buckets of `burst` tokens, refilled by one token every `refill_s` seconds.

    At most `max_keys` are kept; the least recently used key is dropped first.
    """

    def __init__(self, *, burst: int, refill_s: float, max_keys: int) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._max_keys = max_keys
        self._buckets: dict[Hashable, _Bucket] = {}

    def wait_s(self, key: Hashable, now: float, tokens: int = 1) -> int:
        """Takes `tokens` and returns 0; if too few are left, returns the whole seconds to wait."""
        bucket = self._refilled(key, now)
        if bucket.left < tokens:
            return max(1, math.ceil((tokens - bucket.left) * self._refill_s))
        bucket.left -= tokens
        return 0

    def charge(self, key: Hashable, now: float, tokens: float) -> None:
        """Takes tokens for work that was done; what is left may fall below 0, to −burst."""
        bucket = self._refilled(key, now)
        bucket.left = max(-float(self._burst), bucket.left - tokens)

    def _refilled(self, key: Hashable, now: float) -> _Bucket:
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        gained = max(0.0, now - bucket.at) / self._refill_s
        bucket.left, bucket.at = min(self._burst, bucket.left + gained), now
        self._buckets[key] = bucket  # moved to the end, so the first is the least recently used
        if len(self._buckets) > self._max_keys:
            del self._buckets[next(iter(self._buckets))]
        return bucket
