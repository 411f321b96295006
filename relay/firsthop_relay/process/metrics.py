"""The relay's HTTP endpoints for operators and its agent: `/metrics`, `/healthz`, `/samples`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firsthop_net.http_server import HttpRunner
from firsthop_relay.flows.counters import RELAY_METRICS
from firsthop_relay.flows.readings import CounterReading, MetricTable
from firsthop_relay.io.round_trips import RoundTripRow

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def families(reading: CounterReading, table: MetricTable) -> Iterator[Metric]:
    """The families of `/metrics`."""
    for family_class, entries in (
        (CounterMetricFamily, table.counters),
        (GaugeMetricFamily, table.gauges),
    ):
        for name, label, meaning in entries:
            family = family_class(
                f"{table.prefix}_{name}", meaning, labels=[label] if label else []
            )
            for value, count in reading.get(name, {}).items():
                family.add_metric([value] if label else [], count)
            yield family


class _Read(Collector):
    def __init__(self, reading: CounterReading, table: MetricTable) -> None:
        self._reading = reading
        self._table = table

    def collect(self) -> Iterator[Metric]:
        return families(self._reading, self._table)


def exposition(reading: CounterReading, table: MetricTable) -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_Read(reading, table))
    return generate_latest(registry)


def metrics_answer(reading: CounterReading, table: MetricTable) -> web.Response:
    """The answer to `GET /metrics`."""
    return web.Response(body=exposition(reading, table), headers={"Content-Type": CONTENT_TYPE})


async def serve_metrics(
    reading: Callable[[], CounterReading],
    round_trips: Callable[[float], list[RoundTripRow]],
    sock: socket.socket,
) -> web.AppRunner:
    """Serve on the listening socket `sock` until the runner's `cleanup()`.

    `round_trips` returns the round trips measured after a time, in seconds since 1970.
    """

    async def metrics(_: web.Request) -> web.Response:
        return metrics_answer(reading(), RELAY_METRICS)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def samples(request: web.Request) -> web.Response:
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            return web.Response(status=400, text="since: must be seconds since 1970\n")
        names = "client", "rtt_ms", "at"
        rows = [dict(zip(names, row, strict=True)) for row in round_trips(since)]
        return web.json_response({"samples": rows})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    app.add_routes([web.get("/samples", samples)])
    runner = HttpRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
