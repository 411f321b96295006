"""The HTTP interface for an edge's operators: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from firsthop.edge.reporting.metrics import EdgeCollector
from firsthop.edge.reporting.state import EdgeState
from firsthop_steering.feed.snapshot import age_s, kind_of


def readiness(state: EdgeState) -> dict[str, Any]:
    """The body of `/readyz`: readiness, the snapshots in force with their age, and errors."""
    now, feed, table = datetime.now(UTC), state.source.feed, state.geo.table
    return {
        "ready": state.ready,
        "snapshots": {
            kind_of(each): {"number": each.number, "age_s": round(age_s(each, now), 1)}
            for each in state.snapshots
        },
        "feed": {
            "connected_to": state.source.connected_to or None,
            "last_error": feed.last_error or None,
            "clock_off_s": feed.clock_off_s,
        }
        if feed
        else None,
        "alone": state.isolated(),
        "refused": feed.last_refusal or None if feed else None,
        "table_error": state.in_force.error or None,
        "disk_error": state.disk_error or None,
        "document_error": None if feed else state.source.refusals.reason or None,
        "geodata": {
            "digest": table.digest if table else None,
            "type": table.database_type if table else None,
            "error": state.geo.refusals.reason or None,
        },
        "workers": {
            worker.name: {
                "pid": worker.pid,
                "loaded": worker.loaded or None,
                "failure": worker.failure or None,
            }
            for worker in state.workers
        },
    }


def create_observability_app(state: EdgeState) -> web.Application:
    """The application behind `--metrics`."""
    registry = CollectorRegistry()
    registry.register(EdgeCollector(state))

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(readiness(state), status=200 if state.ready else 503)

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
