"""The allocator as a task of a process: listens, serves, and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from firsthop_allocator.allocations.state import Holder
from firsthop_allocator.http.app import create_app
from firsthop_allocator.http.counts import AllocatorCounters
from firsthop_allocator.settings import GRACE_S, LINGER_S, AllocatorSettings
from firsthop_net.http_server import HttpRunner

BACKLOG = 1024
"""Connections that may wait to be accepted while the process is busy."""


async def serve(
    settings: AllocatorSettings,
    holder: Holder,
    listen: socket.socket | tuple[str, int],
    *,
    stop: asyncio.Event,
    on_listening: Callable[[str, int], None] = lambda _host, _port: None,
    counts: AllocatorCounters | None = None,
) -> None:
    """Serves on `listen`: host and port, or a bound socket, which is closed at the end.

    Calls `on_listening` with each address once connections are accepted. After `stop` is set,
    returns when the requests under way have ended, or after GRACE_S. Raises OSError if it cannot
    listen.
    """
    counts = counts or AllocatorCounters()
    app = create_app(holder, settings, counts=counts)
    runner = HttpRunner(
        app,
        proxies=settings.trusted_proxies,
        logger=_protocol_logger(counts),
        lingering_time=LINGER_S,
        shutdown_timeout=GRACE_S,
    )
    await runner.setup()
    try:
        await _site(runner, listen).start()
        for address in runner.addresses:
            on_listening(address[0], address[1])
        await stop.wait()
    finally:
        await runner.cleanup()


def _protocol_logger(counts: AllocatorCounters) -> logging.Logger:
    """A logger that counts malformed HTTP instead of logging a traceback for each request."""

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        malformed = isinstance(error, HttpProcessingError)
        counts.requests["malformed", 400] += malformed
        return not malformed

    logger = logging.Logger("firsthop_allocator.protocol")
    logger.parent = logging.getLogger()
    logger.addFilter(keep)
    return logger


def _site(runner: web.AppRunner, listen: socket.socket | tuple[str, int]) -> web.BaseSite:
    if isinstance(listen, socket.socket):
        return web.SockSite(runner, listen, backlog=BACKLOG)
    host, port = listen
    return web.TCPSite(runner, host, port, backlog=BACKLOG)
