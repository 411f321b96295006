"""The control plane as one aiohttp application, and the URLs at which it is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from aiohttp import web

from firsthop_controlplane.api.problems import problems
from firsthop_controlplane.api.routes import add_routes
from firsthop_controlplane.background import running
from firsthop_controlplane.deps import DEPS
from firsthop_controlplane.settings import Settings
from firsthop_controlplane.wiring import Parts, wire


def create_app(settings: Settings, parts: Parts) -> web.Application:
    """The application; the database must have been migrated when it starts."""
    app = web.Application(middlewares=[problems], client_max_size=settings.changeset_limit)
    deps = app[DEPS] = wire(settings, parts)
    add_routes(app.router, deps)

    async def run_tasks(_: web.Application) -> AsyncIterator[None]:
        async with running(deps, parts):
            yield

    async def end_streams(_: web.Application) -> None:
        deps.feed.close()

    app.cleanup_ctx.append(run_tasks)
    app.on_shutdown.append(end_streams)
    return app


def addresses(runner: web.AppRunner) -> Iterator[str]:
    """The URLs on which a runner listens: `http://127.0.0.1:8080`."""
    for address in runner.addresses:
        host, port = address[0], address[1]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
