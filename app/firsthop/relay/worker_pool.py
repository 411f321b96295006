"""The workers of a relay: one within this process, or several processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from firsthop.process.workers import Worker
from firsthop.relay.settings import RelaySettings
from firsthop.relay.sockets import RelaySockets
from firsthop_relay import log
from firsthop_relay.flows.counters import counted_only
from firsthop_relay.flows.readings import CounterReading, add
from firsthop_relay.io.round_trips import ClientRoundTrips, RoundTripRow
from firsthop_relay.process.worker import RelayWorker

HAND_OVER_WITHIN_S = 10.0
SHARE_AFTER_S = 0.2
"""Delay that collects the reports of several workers."""


def journal_path(settings: RelaySettings, worker: int) -> Path | None:
    """The file of a worker's flow journal."""
    return settings.state_dir / f"flows-{worker}.journal" if settings.state_dir else None


class RelayWorkerPool(Protocol):
    """The workers of a relay, in the form that its supervisor uses."""

    def send(self, news: Mapping[str, Any]) -> None:
        """See `RelayWorker.send`."""

    def reading(self) -> CounterReading:
        """The sum over all workers."""

    def round_trips(self, since: float) -> list[RoundTripRow]:
        """The round trips of all workers; see `RelayWorker.round_trips`."""

    async def ready(self) -> None:
        """Return when all workers have started."""

    async def serving(self) -> None:
        """Return when the workers in this process forward packets."""

    async def hand_over(self) -> None:
        """Return when all workers have handed over their flows and stopped."""

    async def run(self) -> None:
        """Run until cancelled; on return all workers have stopped."""


class SingleWorker:
    """One worker, within this process."""

    def __init__(self, settings: RelaySettings, sockets: RelaySockets) -> None:
        self._worker = RelayWorker(
            [sock.dup() for sock in sockets.share(0, 1)],
            limits=settings.limits,
            journal=journal_path(settings, 0),
            predecessors=[sock.dup() for sock in sockets.predecessors],
            successor=sockets.channel(0).dup(),
        )

    def send(self, news: Mapping[str, Any]) -> None:
        self._worker.send(news)

    def reading(self) -> CounterReading:
        return self._worker.reading()

    def round_trips(self, since: float) -> list[RoundTripRow]:
        return self._worker.round_trips(since)

    async def ready(self) -> None:
        """Return at once."""

    async def serving(self) -> None:
        await self._worker.serving()

    async def hand_over(self) -> None:
        await self._worker.hand_over()

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._worker.close()


class WorkerProcesses:
    """Several worker processes; one that dies is restarted, and reads its flows from its journal.

    Each is sent the number of sessions of the other workers whenever that changes. The number is
    the sum of their reports every second, so it is at most 1.2 s old and needs no shared memory.
    """

    def __init__(self, settings: RelaySettings, sockets: RelaySockets) -> None:
        count = settings.workers
        limits = json.dumps(asdict(settings.limits.shared_by(count)))
        self._workers = []
        for number in range(count):
            journal = journal_path(settings, number)
            options = ["--limits", limits, *(["--journal", str(journal)] if journal else [])]
            self._workers.append(self._worker(number, sockets, count, options))
        self._received = asyncio.Event()
        self._handed_over: set[str] = set()
        self._readings: dict[str, tuple[int, CounterReading]] = {}
        self._final: list[CounterReading] = []
        self._round_trips = ClientRoundTrips()
        self._elsewhere: dict[str, int] = {}
        """The number last sent to each worker."""
        self._sharing: asyncio.TimerHandle | None = None

    def _worker(self, number: int, sockets: RelaySockets, count: int, options: list[str]) -> Worker:
        reads = [sock.fileno() for sock in sockets.share(number, count)]
        predecessors = [sock.fileno() for sock in sockets.predecessors_of(number, count)]
        successor = sockets.channel(number).fileno()
        command = ["relay-worker", *options, "--successor", str(successor)]
        command += ["--sockets", ",".join(map(str, reads))]
        if predecessors:
            command += ["--predecessors", ",".join(map(str, predecessors))]
        files = [*reads, *predecessors, successor]
        return Worker(f"relay-{number}", command, files=files, on_line=self._on_line)

    def send(self, news: Mapping[str, Any]) -> None:
        for worker in self._workers:
            worker.send(dict(news))

    def reading(self) -> CounterReading:
        return add([*self._final, *(reading for _, reading in self._readings.values())])

    def round_trips(self, since: float) -> list[RoundTripRow]:
        return self._round_trips.since(since)

    async def ready(self) -> None:
        while not all(worker.loaded for worker in self._workers):
            await self._news()

    async def serving(self) -> None:
        """Return at once: no worker is in this process."""

    async def hand_over(self) -> None:
        self.send({"hand_over": True})
        while self._handed_over < {worker.name for worker in self._workers}:
            await self._news()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(log.ready())  # needed when a worker dies
            for worker in self._workers:
                group.create_task(worker.run())

    def _share_sessions(self) -> None:
        self._sharing = None
        sessions = {name: each["sessions"][""] for name, (_, each) in self._readings.items()}
        total = sum(sessions.values())
        for worker in self._workers:
            elsewhere = total - sessions.get(worker.name, 0)
            if self._elsewhere.get(worker.name, 0) != elsewhere:
                self._elsewhere[worker.name] = elsewhere
                worker.send({"sessions_elsewhere": elsewhere})

    async def _news(self) -> None:
        await self._received.wait()
        self._received.clear()

    def _on_line(self, worker: Worker, message: dict[str, Any]) -> None:
        self._received.set()
        for prefix, rtt_ms, _ in message.get("round_trips", ()):
            self._round_trips.note(prefix, rtt_ms)
        if "handed_over" in message:
            self._handed_over.add(worker.name)
        if "counters" in message:
            before = self._readings.get(worker.name)
            if before is not None and before[0] != worker.restarts:
                self._final.append(counted_only(before[1]))
                self._final = [add(self._final)]
            self._readings[worker.name] = worker.restarts, message["counters"]
            if self._sharing is None:
                loop = asyncio.get_running_loop()
                self._sharing = loop.call_later(SHARE_AFTER_S, self._share_sessions)
