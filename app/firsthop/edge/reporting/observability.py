"""What an edge tells its operators: `/healthz`, `/readyz`, `/metrics`.

Workers count; this process adds. A worker that was started again counts from 0, so what its dead
predecessor counted is kept and added: a counter never falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firsthop_steering.feed.snapshot import Snapshot, age_s, kind_of

if TYPE_CHECKING:
    from firsthop.edge.supervisor import Edge

MetricLabels = tuple[tuple[str, str], ...]
Reported = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Metric name → (labels, value) as a worker reports it."""

HELP = {
    "firsthop_dns_requests_total": "DNS messages received",
    "firsthop_dns_responses_total": "DNS messages sent",
    "firsthop_dns_dropped_total": "DNS messages that got no answer, and why",
    "firsthop_region_answers_total": "Answers that named a region of a service",
    "firsthop_allocations_total": "Allocation requests by result",
    "firsthop_allocations_explored_total": "Allocations with a relay just to learn of it",
}


class CounterBoard:
    """Sums of all workers' counters, dead ones included."""

    def __init__(self) -> None:
        self._living: dict[tuple[str, int], Reported] = {}
        self._buried: dict[tuple[str, MetricLabels], float] = {}

    def report(self, worker: str, generation: int, counters: Reported) -> None:
        """Takes a worker's latest word; an older generation of it is buried."""
        for key in [each for each in self._living if each[0] == worker and each[1] < generation]:
            for place, value in _flat(self._living.pop(key)):
                self._buried[place] = self._buried.get(place, 0) + value
        self._living[(worker, generation)] = counters

    def totals(self) -> dict[str, dict[MetricLabels, float]]:
        """Metric name → labels → sum."""
        sums = dict(self._buried)
        for counters in self._living.values():
            for place, value in _flat(counters):
                sums[place] = sums.get(place, 0) + value
        totals: dict[str, dict[MetricLabels, float]] = {}
        for (name, labels), value in sorted(sums.items()):
            totals.setdefault(name, {})[labels] = value
        return totals


def _flat(counters: Reported) -> Iterator[tuple[tuple[str, MetricLabels], float]]:
    for name, samples in counters.items():
        for labels, value in samples:
            yield (name, tuple(sorted(labels.items()))), value


class EdgeCollector(Collector):
    """The edge's metrics at the moment of a scrape."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def collect(self) -> Iterator[Metric]:
        """Counters of the workers, and the age and number of what is in force."""
        for name, samples in self._edge.counters.totals().items():
            labels = [label for label, _ in next(iter(samples))]
            metric = CounterMetricFamily(name, HELP.get(name, name), labels=labels)
            for values, value in samples.items():
                metric.add_metric([text for _, text in values], value)
            yield metric
        yield from self._snapshots()
        yield from self._processes()

    def _snapshots(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        age = GaugeMetricFamily(
            "firsthop_snapshot_age_seconds", "Since the control plane made it", labels=["kind"]
        )
        number = GaugeMetricFamily(
            "firsthop_snapshot_number", "Number of the snapshot in force", labels=["kind"]
        )
        for snapshot in in_force(self._edge):
            kind = kind_of(snapshot)
            age.add_metric([kind], age_s(snapshot, now))
            number.add_metric([kind], snapshot.number)
        yield age
        yield number
        refused = CounterMetricFamily(
            "firsthop_snapshots_refused_total", "Snapshots not accepted", labels=["origin"]
        )
        shelf = self._edge.shelf
        for origin, count in (shelf.rejected if shelf else {}).items():
            refused.add_metric([origin], count)
        yield refused
        verdicts = GaugeMetricFamily(
            "firsthop_verdict", "1 up, 0 down, 0.5 unknown", labels=["relay"]
        )
        plan, status = self._edge.in_force or (None, None)
        for relay in plan.document.relays if plan else ():
            held = status.relays.get(relay.id) if status else None
            verdict = held.verdict if held else "unknown"
            verdicts.add_metric([relay.id], {"up": 1.0, "down": 0.0}.get(verdict, 0.5))
        yield verdicts

    def _processes(self) -> Iterator[Metric]:
        edge = self._edge
        yield GaugeMetricFamily(
            "firsthop_table_stale",
            "The newest snapshots could not be compiled; the table before is in use",
            value=float(bool(edge.table_error)),
        )
        yield GaugeMetricFamily(
            "firsthop_disk_failed",
            "What is in force could not be kept on disk; a restart begins with older data",
            value=float(bool(edge.disk_error)),
        )
        yield GaugeMetricFamily(
            "firsthop_ready", "Every worker answers", value=1.0 if edge.ready else 0.0
        )
        yield GaugeMetricFamily(
            "firsthop_edge_alone",
            "No control plane for a minute or more: it plans prices for itself",
            value=float(edge.lone.alone),
        )
        connected = bool(edge.follower and edge.follower.connected_to)
        yield GaugeMetricFamily(
            "firsthop_feed_connected", "The snapshot stream is open", value=float(connected)
        )
        source = GaugeMetricFamily(
            "firsthop_feed_source", "1: the replica that feeds this edge", labels=["url"]
        )
        if edge.follower:
            for url in edge.follower.urls:
                source.add_metric([url], float(edge.follower.connected_to == url))
        yield source
        yield CounterMetricFamily(
            "firsthop_feed_gaps_total",
            "Whole statuses asked for, because deltas were missed or too many",
            value=edge.shelf.gaps if edge.shelf else 0,
        )
        samples = CounterMetricFamily(
            "firsthop_samples_total",
            "Round trips that clients measured, by what became of them",
            labels=["result"],
        )
        for result, count in edge.samples.results.items():
            samples.add_metric([result], count)
        yield samples
        yield GaugeMetricFamily(
            "firsthop_samples_waiting",
            "Round trips that the control plane is still to be told",
            value=edge.samples.waiting,
        )
        restarts = CounterMetricFamily(
            "firsthop_worker_restarts_total", "Workers that died", labels=["worker"]
        )
        for worker in edge.crew.workers:
            restarts.add_metric([worker.name], worker.restarts)
        yield restarts


def in_force(edge: Edge) -> list[Snapshot]:
    """What is answered by, which is older than what is held while a table cannot be made."""
    guidance = edge.guidance_in_force
    held = (*(edge.in_force or ()), edge.keys, guidance.prices, guidance.latency)
    return [each for each in held if each is not None]


def readiness(edge: Edge) -> dict[str, Any]:
    """What `/readyz` says: whether, by what, how old, and what was refused."""
    now = datetime.now(UTC)
    return {
        "ready": edge.ready,
        "snapshots": {
            kind_of(each): {"number": each.number, "age_s": round(age_s(each, now), 1)}
            for each in in_force(edge)
        },
        "feed": {
            "connected_to": edge.follower.connected_to or None,
            "last_error": edge.follower.last_error or None,
        }
        if edge.follower
        else None,
        "alone": edge.lone.alone,
        "refused": edge.shelf.last_rejection or None if edge.shelf else None,
        "table_error": edge.table_error or None,
        "disk_error": edge.disk_error or None,
        "document_error": edge.document_error or None,
        "geodata": {
            "digest": edge.geo.digest if edge.geo else None,
            "type": edge.geo.database_type if edge.geo else None,
            "error": edge.geo_error or None,
        },
        "workers": {
            worker.name: {
                "pid": worker.pid,
                "loaded": worker.loaded or None,
                "failure": worker.failure or None,
            }
            for worker in edge.crew.workers
        },
    }


def create_observability_app(edge: Edge) -> web.Application:
    """The application behind `--metrics`."""
    registry = CollectorRegistry()
    registry.register(EdgeCollector(edge))

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(readiness(edge), status=200 if edge.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
