"""One worker of a relay as a process, controlled over its standard input."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from firsthop.process.pipe import SupervisorPipe
from firsthop_relay.flows.limits import Limits
from firsthop_relay.process.worker import RelayWorker

REPORT_INTERVAL_S = 1.0


async def run(
    sockets: Sequence[socket.socket],
    *,
    limits: Limits,
    journal: Path | None,
    predecessors: Sequence[socket.socket],
    successor: socket.socket,
) -> None:
    """Run until the supervisor ends."""
    pipe = await SupervisorPipe.open()
    worker = RelayWorker(
        sockets, limits=limits, journal=journal, predecessors=predecessors, successor=successor
    )
    reporting: asyncio.Task[None] | None = None
    try:
        async for news in pipe.messages():
            worker.send(news)
            pipe.send(loaded="yes")
            if "serve" in news and reporting is None:
                reporting = asyncio.create_task(_report(pipe, worker))
            if "hand_over" in news:
                await worker.hand_over()
                pipe.send(handed_over=True, counters=worker.reading())
    finally:
        if reporting is not None:
            reporting.cancel()
        worker.close()


async def _report(pipe: SupervisorPipe, worker: RelayWorker) -> None:
    """Report every second, once the flows of the previous process have arrived: an earlier report
    would have no sessions, and mislead the other workers."""
    await worker.serving()
    reported = 0.0
    while True:
        measured = worker.round_trips(reported)
        if pipe.report(counters=worker.reading(), round_trips=measured) and measured:
            reported = measured[-1][2]
        await asyncio.sleep(REPORT_INTERVAL_S)
