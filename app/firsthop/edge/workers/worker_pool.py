"""The workers of an edge: their sockets, and the messages to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firsthop.edge.settings import EdgeSettings
from firsthop.edge.workers.activation import TableActivation
from firsthop.edge.workers.sockets import ALLOCATOR, ListeningSockets
from firsthop.process.workers import Worker
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import KeySet, Plan, Status


class EdgeWorkerPool:
    """DNS workers, and the allocator if there is one; `Worker.run` starts each."""

    def __init__(
        self,
        settings: EdgeSettings,
        sockets: ListeningSockets,
        *,
        on_line: Callable[[Worker, dict[str, Any]], None],
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._on_line = on_line
        self._dns = [*self._dns_workers()]
        self._allocator = [*self._allocator_worker()]
        self._options: dict[str, Any] = {}
        self._guidance = NO_GUIDANCE
        """The guidance that the allocator has."""
        self._activation = TableActivation([each.name for each in self._dns])

    @property
    def workers(self) -> list[Worker]:
        """DNS workers, then the allocator."""
        return self._dns + self._allocator

    def send_table(self, path: Path, geo: GeoTable, *, plan: int, status: int) -> None:
        """Make DNS workers answer from this table, of the plan and status with these numbers."""
        for worker in self._dns:
            worker.send({"table": str(path), "geodata": str(geo.path)})
        self._activation.want(path, plan=plan, status=status)

    def _take(self, worker: Worker, message: dict[str, Any]) -> None:
        if "table" in message:
            self._activation.held(worker.name, message["table"])
        self._on_line(worker, message)

    def send_snapshots(
        self,
        plan: Plan,
        status: Status,
        keys: KeySet | None,
        *,
        geo: GeoTable,
        guidance: Guidance,
    ) -> None:
        """Make the allocator use these snapshots, sent without the zones' records."""
        zones = tuple(zone.model_copy(update={"records": ()}) for zone in plan.document.zones)
        document = plan.document.model_copy(update={"zones": zones})
        bare = plan.model_copy(update={"document": document})
        news = {
            "plan": bare.model_dump_json(),
            "status": status.model_dump_json(),
            "keys": keys.model_dump_json() if keys else None,
            "geodata": str(geo.path),
        }
        for kind in ("prices", "latency"):  # may have megabytes, so sent only after a change
            new = getattr(guidance, kind)
            if new is not getattr(self._guidance, kind):
                news[kind] = new.model_dump_json() if new else None
        self._guidance = guidance
        for worker in self._allocator:
            worker.send(news)

    def send_options(self, keys: KeySet | None, *, stale: bool) -> None:
        """Sends the DNS options, if they have changed."""
        options = self._settings.dns_options.message(
            keys, stale=stale, workers=max(1, len(self._dns)), now=datetime.now(UTC)
        )
        if options != self._options:
            self._options = options
            for worker in self._dns:
                worker.send({"options": options})

    def send_unready(self) -> None:
        """Make workers without a table or plan answer errors, instead of letting requests wait."""
        for worker in self.workers:
            worker.send({"unready": True})

    def _dns_workers(self) -> Iterator[Worker]:
        count = self._settings.dns_workers if self._settings.dns else 0
        for number in range(count):
            pairs = self._sockets.share(number, count)
            files = [sock.fileno() for pair in pairs for sock in pair]
            yield self._worker(f"dns-{number}", ["dns"], files)

    def _allocator_worker(self) -> Iterator[Worker]:
        if self._settings.allocator:
            files = [sock.fileno() for sock in self._sockets.of(ALLOCATOR)]
            arguments = self._settings.allocator_options.arguments()
            if self._settings.region is not None:
                arguments += ["--region", self._settings.region]
            yield self._worker(ALLOCATOR, ["allocator", *arguments], files)

    def _worker(self, name: str, arguments: Sequence[str], files: Sequence[int]) -> Worker:
        command = ["edge-worker", *arguments, "--sockets", ",".join(map(str, files))]
        return Worker(name, command, files=files, on_line=self._take)
