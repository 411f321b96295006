"""What the planner says beside plan and status: prices, and what is learned of round trips.

An edge steers without any, and by the last ones when it is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_steering.feed.snapshot import Latency, Prices


@dataclass(frozen=True, slots=True)
class Guidance:
    """Either may be absent."""

    prices: Prices | None = None
    latency: Latency | None = None

    def within(self, lineage: str) -> Guidance:
        """What of it is of this store: another one's regions only share their names with ours."""
        prices, latency = self.prices, self.latency
        return Guidance(
            prices if prices and prices.lineage == lineage else None,
            latency if latency and latency.lineage == lineage else None,
        )


NO_GUIDANCE = Guidance()
