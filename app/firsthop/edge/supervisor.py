"""The edge's supervisor process: handles signals and take-over, and starts and stops all parts.

It processes no queries. Every change of an input (a snapshot, a file, an expiry, own prices) sets
one event; the rebuild loop waits for it, compiles, and notifies the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal

import structlog
from aiohttp import web

from firsthop.edge.parts import EdgeParts, load_source, wire
from firsthop.edge.reporting.observability import create_observability_app
from firsthop.edge.settings import EdgeSettings
from firsthop.edge.workers.sockets import METRICS, ListeningSockets
from firsthop.process.takeover import READY_WITHIN_S, StateClaim, TakeOverError, claim
from firsthop_net.http_server import HttpRunner

log = structlog.get_logger(__name__)

GC_THRESHOLDS = (100_000, 50, 100)
"""A document of 100,000 records is not garbage; scanning it would take a third of the time."""
UNREADY_AFTER_S = 1.0
"""Queries wait this long for a first table, which loads faster from disk; then they are refused."""


async def run_edge(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT, or until another edge has taken over.

    Raises PortInUseError, TakeOverError, GeodataError, DocumentError at the start.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    stop, reload, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    claimed = await claim(settings.state_dir, take_over=settings.take_over)
    with contextlib.closing(claimed):
        sockets = ListeningSockets(claimed.inherited)
        with contextlib.closing(sockets):
            sockets.bind(settings)
            source, geo = await load_source(settings, changed)
            parts = wire(settings, source, geo, sockets=sockets, changed=changed, reload=reload)
            changed.set()  # for the first table
            await _serve(parts, sockets, claimed, stop)


async def _serve(
    parts: EdgeParts, sockets: ListeningSockets, claimed: StateClaim, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set, a successor has taken over, or a part fails."""
    runner = HttpRunner(create_observability_app(parts.state))
    await runner.setup()
    running = [loop() for loop in parts.loops]
    running += [_hold(parts, sockets, claimed, runner), stop.wait()]
    tasks = [asyncio.ensure_future(each) for each in running]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        # Before the workers stop, so that the sockets close for good when the last worker stops.
        sockets.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(runner.cleanup(), *tasks, return_exceptions=True)


async def _hold(
    parts: EdgeParts, sockets: ListeningSockets, claimed: StateClaim, runner: web.AppRunner
) -> None:
    """Takes over from a predecessor, if there is one; returns once a successor has taken over."""
    if claimed.predecessor is not None:
        await _until_ready(parts)
        await claimed.take()
        log.info("edge.taken_over")
    for sock in sockets.of(METRICS):
        await web.SockSite(runner, sock.dup()).start()
    asyncio.get_running_loop().call_later(UNREADY_AFTER_S, parts.workers.send_unready)
    await claimed.give(sockets.files())
    log.info("edge.handed_over")


async def _until_ready(parts: EdgeParts) -> None:
    """Wait until every worker has a table. Raises TakeOverError if that takes too long."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not parts.state.ready:
                await parts.received.wait()
                parts.received.clear()
    except TimeoutError:
        rule = f"not ready within {READY_WITHIN_S:.0f} s, so the other edge keeps running"
        raise TakeOverError(f"{rule}: {parts.state.in_force.error or 'no table'}") from None
