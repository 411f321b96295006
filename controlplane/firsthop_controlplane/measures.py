"""Prometheus metrics of a control plane, collected when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firsthop_controlplane.access.token_use import TokenUses
from firsthop_controlplane.feed.feed import ORDER, Feed
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.loop import LatencyLoop

_VERDICT_VALUES = {"up": 1.0, "down": 0.0, "unknown": -1.0}


class _Collector(Collector):
    """Metrics of the newest snapshots, of the leadership, of samples and of tokens."""

    def __init__(
        self, feed: Feed, leadership: ReplicaLeadership, latency: LatencyLoop, uses: TokenUses
    ) -> None:
        self._uses = uses
        self._feed = feed
        self._leadership = leadership
        self._latency = latency

    def collect(self) -> Iterator[Metric]:
        feed = self._feed
        yield GaugeMetricFamily(
            "firsthop_feed_readers", "Readers of the snapshot stream.", value=feed.readers
        )
        numbers = GaugeMetricFamily(
            "firsthop_snapshot_number", "Number of the newest snapshot.", labels=["kind"]
        )
        for kind in ORDER:
            snapshot = feed.present(kind)
            if snapshot is not None:
                numbers.add_metric([kind], snapshot.number)
        yield numbers
        verdicts = GaugeMetricFamily(
            "firsthop_verdict", "1 up, 0 down, -1 unknown.", labels=["relay"]
        )
        for name, relay in (feed.status.relays if feed.status else {}).items():
            verdicts.add_metric([name], _VERDICT_VALUES[relay.verdict])
        yield verdicts
        yield from self._transceiver_metrics()
        yield from self._leadership_metrics()
        yield from self._sample_metrics()
        yield from self._token_metrics()

    def _token_metrics(self) -> Iterator[Metric]:
        refusals = CounterMetricFamily(
            "firsthop_token_refusals_total",
            "Refused requests by the token's role (empty: no known token) and the reason.",
            labels=["role", "reason"],
        )
        for (role, reason), count in self._uses.refusals.items():
            refusals.add_metric([role, reason], count)
        abuses = CounterMetricFamily(
            "firsthop_token_abuses_total",
            "How often the holder of a token was refused 20 times within a minute.",
            labels=["role"],
        )
        for role, count in self._uses.abuses.items():
            abuses.add_metric([role], count)
        yield from (refusals, abuses)

    def _transceiver_metrics(self) -> Iterator[Metric]:
        known = self._feed.status.transceivers if self._feed.status else {}
        verdicts = GaugeMetricFamily(
            "firsthop_transceiver_verdict", "1 up, 0 down, -1 unknown.", labels=["transceiver"]
        )
        loads = GaugeMetricFamily(
            "firsthop_transceiver_load", "Share of the capacity in use.", labels=["transceiver"]
        )
        draining = GaugeMetricFamily(
            "firsthop_transceiver_draining",
            "1: no new sessions are wanted.",
            labels=["transceiver"],
        )
        for name, each in known.items():
            verdicts.add_metric([name], _VERDICT_VALUES[each.verdict])
            draining.add_metric([name], float(each.draining))
            if each.load is not None:
                loads.add_metric([name], each.load)
        yield from (verdicts, loads, draining)

    def _sample_metrics(self) -> Iterator[Metric]:
        memory = self._latency.memory
        if memory is None:
            return
        samples = CounterMetricFamily(
            "firsthop_rtt_samples_total", "Samples by outcome.", labels=["outcome"]
        )
        ledger = memory.model.ledger
        for outcome, count in memory.intake.counts.items():
            samples.add_metric([outcome], count)
        yield samples
        learned = self._latency.learned
        yield GaugeMetricFamily("firsthop_rtt_reports", "Samples that are kept.", len(ledger))
        yield GaugeMetricFamily(
            "firsthop_rtt_entries",
            "Pairs of prefix and region that have samples.",
            len(learned.entries) if learned else 0,
        )
        yield GaugeMetricFamily(
            "firsthop_rtt_doubted",
            "Pairs whose samples do not count, because others or the speed of light contradict.",
            int(learned.doubtful.sum()) if learned else 0,
        )
        yield GaugeMetricFamily(
            "firsthop_rtt_discredited",
            "Samples that do not count, because others contradict their token.",
            learned.discredited if learned else 0,
        )
        yield CounterMetricFamily(
            "firsthop_rtt_evicted_total", "Samples dropped because of their number.", ledger.evicted
        )
        yield GaugeMetricFamily(
            "firsthop_rtt_unsaved",
            "1: the last save failed.",
            float(bool(self._latency.save_error)),
        )

    def _leadership_metrics(self) -> Iterator[Metric]:
        leadership = self._leadership
        yield GaugeMetricFamily(
            "firsthop_leader", "1: this control plane leads.", value=float(leadership.leads)
        )
        if leadership.lease is not None:
            yield GaugeMetricFamily(
                "firsthop_leader_term",
                "Term of the last known leader.",
                value=leadership.lease.term,
            )
        age_s = leadership.lease_age_s()
        if age_s is not None:
            yield GaugeMetricFamily(
                "firsthop_leader_lease_age_seconds",
                "Seconds since the lease was renewed.",
                value=age_s,
            )
        yield CounterMetricFamily(
            "firsthop_leaderships_total",
            "How often this control plane began to lead.",
            value=leadership.hand_overs,
        )


class Measures:
    """One application's metrics, in a registry of its own."""

    def __init__(
        self, feed: Feed, leadership: ReplicaLeadership, latency: LatencyLoop, uses: TokenUses
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(feed, leadership, latency, uses))
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
        """All metrics in the exposition format."""
        return generate_latest(self._registry)
