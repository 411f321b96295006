"""Guidance of the planner: prices and learned latency, which supplement plan and status.

An edge works without guidance, and an isolated edge keeps using the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_steering.feed.snapshot import Latency, Prices


@dataclass(frozen=True, slots=True)
class Guidance:
    """The current prices and latency, either of which may be absent."""

    prices: Prices | None = None
    latency: Latency | None = None

    def within(self, lineage: str) -> Guidance:
        """The part with this lineage: in another store, equal region ids may mean other regions."""
        prices, latency = self.prices, self.latency
        return Guidance(
            prices if prices and prices.lineage == lineage else None,
            latency if latency and latency.lineage == lineage else None,
        )


NO_GUIDANCE = Guidance()
