"""Distributes the reports of an edge's workers: counters, clients, samples, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from firsthop.edge.reporting.counters import CounterBoard
from firsthop.edge.reporting.demand import AnswerSource, DemandBuffer
from firsthop.edge.workers.sockets import ALLOCATOR
from firsthop.process.workers import Worker
from firsthop_steering.feed.sample_queue import SampleRow, SampleUploadQueue

log = structlog.get_logger(__name__)

RETRY_S = 2.0
"""Delay until files are read again after a worker could not use a table, which may be damaged."""


class WorkerReports:
    """Receives the messages of all workers."""

    def __init__(self, buffers: Sequence[DemandBuffer], *, retry: Callable[[], None]) -> None:
        """Every buffer gets all clients; `retry` is called some time after a failure."""
        self.counters = CounterBoard()
        self.samples = SampleUploadQueue()
        self.received = asyncio.Event()
        """Set by each message, since it may change the readiness."""
        self._buffers = buffers
        self._retry = retry

    def take(self, worker: Worker, message: dict[str, Any]) -> None:
        """Process a message from one worker."""
        self.received.set()
        if "counters" in message:
            self.counters.report(worker.name, worker.restarts, message["counters"])
        if message.get("clients"):
            source: AnswerSource = "allocations" if worker.name == ALLOCATOR else "dns"
            for buffer in self._buffers:
                buffer.note(source, message["clients"])
        if message.get("samples"):
            self.samples.note(SampleRow(*each) for each in message["samples"])
        if message.get("failure"):
            log.error("worker.update_failed", worker=worker.name, **message)
            asyncio.get_running_loop().call_later(RETRY_S, self._retry)
