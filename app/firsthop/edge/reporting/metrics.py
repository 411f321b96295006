"""The metrics of an edge, collected at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firsthop.edge.reporting.counters import MetricLabels
from firsthop.edge.reporting.state import EdgeState
from firsthop_steering.feed.snapshot import age_s, kind_of

HELP = {
    "firsthop_dns_requests_total": "DNS messages received",
    "firsthop_dns_responses_total": "DNS messages sent",
    "firsthop_dns_dropped_total": "DNS messages that got no answer, by reason",
    "firsthop_region_answers_total": "Answers that named a region of a service",
    "firsthop_allocations_total": "Allocation requests by result",
    "firsthop_allocations_explored_total": "Allocations with a relay added to learn its round trip",
}


class EdgeCollector(Collector):
    """The edge's metrics at the time of a scrape."""

    def __init__(self, state: EdgeState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Counters of the workers, and the age and number of the snapshots in force."""
        for name, samples in self._state.reports.counters.totals().items():
            if name == "firsthop_region_answers_total":
                samples = _without_family(samples)  # it is for the planner
            labels = [label for label, _ in next(iter(samples))]
            metric = CounterMetricFamily(name, HELP.get(name, name), labels=labels)
            for values, value in samples.items():
                metric.add_metric([text for _, text in values], value)
            yield metric
        yield from self._snapshots()
        yield from self._verdicts()
        yield from self._health()
        yield from self._feed()
        yield from self._samples()
        yield from self._restarts()

    def _snapshots(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        age = GaugeMetricFamily(
            "firsthop_snapshot_age_seconds",
            "Time since the control plane made the snapshot",
            labels=["kind"],
        )
        number = GaugeMetricFamily(
            "firsthop_snapshot_number", "Number of the snapshot in force", labels=["kind"]
        )
        for snapshot in self._state.snapshots:
            kind = kind_of(snapshot)
            age.add_metric([kind], age_s(snapshot, now))
            number.add_metric([kind], snapshot.number)
        yield age
        yield number
        refused = CounterMetricFamily(
            "firsthop_snapshots_refused_total", "Snapshots not accepted", labels=["origin"]
        )
        feed = self._state.source.feed
        for origin, count in (feed.refused if feed else {}).items():
            refused.add_metric([origin], count)
        yield refused
        yield from self._inputs()

    def _inputs(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "firsthop_inputs_refused_total",
            "Changed inputs not taken: for their content, or by a fault of this program",
            labels=["input", "cause"],
        )
        for each in (self._state.source.refusals, self._state.geo.refusals):
            refused.add_metric([each.input, "content"], each.content)
            refused.add_metric([each.input, "fault"], each.faults)
        yield refused

    def _verdicts(self) -> Iterator[Metric]:
        verdicts = GaugeMetricFamily(
            "firsthop_verdict", "1 up, 0 down, 0.5 unknown", labels=["relay"]
        )
        plan, status = self._state.in_force.snapshots or (None, None)
        for relay in plan.document.relays if plan else ():
            held = status.relays.get(relay.id) if status else None
            verdict = held.verdict if held else "unknown"
            verdicts.add_metric([relay.id], {"up": 1.0, "down": 0.0}.get(verdict, 0.5))
        yield verdicts

    def _health(self) -> Iterator[Metric]:
        state = self._state
        yield GaugeMetricFamily(
            "firsthop_table_stale",
            "The newest snapshots could not be compiled; the previous table is in use",
            value=float(bool(state.in_force.error)),
        )
        yield GaugeMetricFamily(
            "firsthop_disk_failed",
            "The data in force could not be saved to disk; a restart begins with older data",
            value=float(bool(state.disk_error)),
        )
        yield GaugeMetricFamily(
            "firsthop_ready", "Every worker answers", value=1.0 if state.ready else 0.0
        )
        yield GaugeMetricFamily(
            "firsthop_edge_alone",
            "No control plane for a minute or more: the edge plans its own prices",
            value=float(state.isolated()),
        )

    def _feed(self) -> Iterator[Metric]:
        feed = self._state.source.feed
        connected_to = self._state.source.connected_to
        yield GaugeMetricFamily(
            "firsthop_feed_connected",
            "The snapshot stream is open",
            value=float(bool(connected_to)),
        )
        source = GaugeMetricFamily(
            "firsthop_feed_source", "1: the replica that feeds this edge", labels=["url"]
        )
        if feed:
            for url in feed.urls:
                source.add_metric([url], float(connected_to == url))
        yield source
        yield CounterMetricFamily(
            "firsthop_feed_gaps_total",
            "Whole statuses requested, because deltas were missed or too many",
            value=feed.gaps if feed else 0,
        )

    def _samples(self) -> Iterator[Metric]:
        queue = self._state.reports.samples
        samples = CounterMetricFamily(
            "firsthop_samples_total",
            "Round trips that clients measured, by outcome",
            labels=["result"],
        )
        for result, count in queue.results.items():
            samples.add_metric([result], count)
        yield samples
        yield GaugeMetricFamily(
            "firsthop_samples_waiting",
            "Round trips queued for upload to the control plane",
            value=queue.waiting,
        )

    def _restarts(self) -> Iterator[Metric]:
        restarts = CounterMetricFamily(
            "firsthop_worker_restarts_total", "Workers that died", labels=["worker"]
        )
        for worker in self._state.workers:
            restarts.add_metric([worker.name], worker.restarts)
        yield restarts


def _without_family(samples: Mapping[MetricLabels, float]) -> dict[MetricLabels, float]:
    sums: dict[MetricLabels, float] = {}
    for labels, value in samples.items():
        kept = tuple(each for each in labels if each[0] != "family")
        sums[kept] = sums.get(kept, 0) + value
    return sums
