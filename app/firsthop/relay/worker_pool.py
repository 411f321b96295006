"""The workers of a relay: one within this process, or several processes of their own."""

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
from firsthop_relay.flows.counters import CounterReading, add, counted_only
from firsthop_relay.io.round_trips import ClientRoundTrips, RoundTripRow
from firsthop_relay.process.worker import RelayWorker

HAND_OVER_WITHIN_S = 10.0
SHARE_AFTER_S = 0.2
"""So that workers that report one after the other are told of each other together."""


def journal_path(settings: RelaySettings, worker: int) -> Path | None:
    """Where a worker writes its flows down."""
    return settings.state_dir / f"flows-{worker}.journal" if settings.state_dir else None


class RelayWorkerPool(Protocol):
    """What a supervisor knows of its workers."""

    def tell(self, news: Mapping[str, Any]) -> None:
        """See `RelayWorker.tell`."""

    def reading(self) -> CounterReading:
        """The sum of all."""

    def round_trips(self, since: float) -> list[RoundTripRow]:
        """Of all; see `RelayWorker.round_trips`."""

    async def ready(self) -> None:
        """Return when all have come up."""

    async def serving(self) -> None:
        """Return when those that live in this process forward."""

    async def hand_over(self) -> None:
        """Return when all have given their flows away, and stopped."""

    async def run(self) -> None:
        """Until cancelled; then all have stopped."""


class Alone:
    """The one worker lives in this process."""

    def __init__(self, settings: RelaySettings, sockets: RelaySockets) -> None:
        self._worker = RelayWorker(
            [sock.dup() for sock in sockets.share(0, 1)],
            limits=settings.limits,
            journal=journal_path(settings, 0),
            predecessors=[sock.dup() for sock in sockets.predecessors],
            successor=sockets.channel(0).dup(),
        )

    def tell(self, news: Mapping[str, Any]) -> None:
        self._worker.tell(news)

    def reading(self) -> CounterReading:
        return self._worker.reading()

    def round_trips(self, since: float) -> list[RoundTripRow]:
        return self._worker.round_trips(since)

    async def ready(self) -> None:
        """It is."""

    async def serving(self) -> None:
        await self._worker.serving()

    async def hand_over(self) -> None:
        await self._worker.hand_over()

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._worker.close()


class Processes:
    """Several; a dead one is started again, and finds its flows in its journal.

    Each is told how many sessions the others carry, whenever that is another number. It comes from
    their reports of every second, so it is 1.2 s old at most, and costs no memory that they share.
    """

    def __init__(self, settings: RelaySettings, sockets: RelaySockets) -> None:
        count = settings.workers
        limits = json.dumps(asdict(settings.limits.shared_by(count)))
        self._workers = []
        for number in range(count):
            journal = journal_path(settings, number)
            options = ["--limits", limits, *(["--journal", str(journal)] if journal else [])]
            self._workers.append(self._worker(number, sockets, count, options))
        self._heard = asyncio.Event()
        self._handed_over: set[str] = set()
        self._readings: dict[str, tuple[int, CounterReading]] = {}
        self._buried: list[CounterReading] = []
        self._round_trips = ClientRoundTrips()
        self._elsewhere: dict[str, int] = {}
        """What each worker was last told."""
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

    def tell(self, news: Mapping[str, Any]) -> None:
        for worker in self._workers:
            worker.tell(dict(news))

    def reading(self) -> CounterReading:
        return add([*self._buried, *(reading for _, reading in self._readings.values())])

    def round_trips(self, since: float) -> list[RoundTripRow]:
        return self._round_trips.since(since)

    async def ready(self) -> None:
        while not all(worker.loaded for worker in self._workers):
            await self._news()

    async def serving(self) -> None:
        """None does."""

    async def hand_over(self) -> None:
        self.tell({"hand_over": True})
        while self._handed_over < {worker.name for worker in self._workers}:
            await self._news()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(log.ready())  # for the death of a worker
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
                worker.tell({"sessions_elsewhere": elsewhere})

    async def _news(self) -> None:
        await self._heard.wait()
        self._heard.clear()

    def _on_line(self, worker: Worker, said: dict[str, Any]) -> None:
        self._heard.set()
        for prefix, rtt_ms, _ in said.get("round_trips", ()):
            self._round_trips.note(prefix, rtt_ms)
        if "handed_over" in said:
            self._handed_over.add(worker.name)
        if "counters" in said:
            before = self._readings.get(worker.name)
            if before is not None and before[0] != worker.restarts:
                self._buried.append(counted_only(before[1]))
                self._buried = [add(self._buried)]
            self._readings[worker.name] = worker.restarts, said["counters"]
            if self._sharing is None:
                loop = asyncio.get_running_loop()
                self._sharing = loop.call_later(SHARE_AFTER_S, self._share_sessions)
