"""The relay's own HTTP door for operators and its agent: `/metrics` and `/healthz`."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from firsthop_relay.server import ListenError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(collector: Collector, host: str, port: int) -> web.AppRunner:
    """Serve on `host`:`port` until the runner's `cleanup()`. Raises ListenError."""
    registry = CollectorRegistry()
    registry.register(collector)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError("TCP", host, port, error) from error
    return runner
