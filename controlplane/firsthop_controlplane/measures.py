"""Counts and gauges for Prometheus, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firsthop_controlplane.feed import Feed

_VERDICT_VALUES = {"up": 1.0, "down": 0.0, "unknown": -1.0}


class _FeedCollector(Collector):
    """The present snapshots, as numbers."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        feed = self._feed
        yield GaugeMetricFamily(
            "firsthop_feed_readers", "Edges on the snapshot stream.", value=feed.readers
        )
        numbers = GaugeMetricFamily(
            "firsthop_snapshot_number", "Number of the newest snapshot.", labels=["kind"]
        )
        for snapshot, kind in ((feed.plan, "plan"), (feed.status, "status"), (feed.keys, "keys")):
            if snapshot is not None:
                numbers.add_metric([kind], snapshot.number)
        yield numbers
        verdicts = GaugeMetricFamily(
            "firsthop_verdict", "1 up, 0 down, -1 unknown.", labels=["relay"]
        )
        for name, relay in (feed.status.relays if feed.status else {}).items():
            verdicts.add_metric([name], _VERDICT_VALUES[relay.verdict])
        yield verdicts


class Measures:
    """One application's metrics; two in one process do not meet."""

    def __init__(self, feed: Feed) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_FeedCollector(feed))
        self.requests = Counter(
            "firsthop_api_requests",
            "Requests by operation and status.",
            ["operation", "code"],
            registry=self._registry,
        )
        self.stuck_readers = Counter(
            "firsthop_feed_stuck_readers",
            "Streams dropped because their reader took nothing.",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Everything in the exposition format."""
        return generate_latest(self._registry)
