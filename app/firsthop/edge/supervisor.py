"""The edge's one process that knows everything: follows, compiles, keeps workers alive, reports.

It never touches a query. What changes (snapshot, document, geo data, an override that expires) sets
one event; the loop behind it makes the table that holds now and tells the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from firsthop.addresses import Listen, format_listen
from firsthop.document_files import DocumentFiles
from firsthop.edge import standalone
from firsthop.edge.follower import Follower
from firsthop.edge.observability import CounterBoard, create_observability_app
from firsthop.edge.settings import EdgeSettings, Feed
from firsthop.edge.shelf import Shelf
from firsthop.edge.tables import TableStore, forget_old
from firsthop.edge.workers import Worker
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.document import DocumentError, warnings_in
from firsthop_steering.snapshot import KeySet, Plan, Status

log = structlog.get_logger(__name__)

RETRY_S = 2.0
"""After what failed for a reason that may pass: a full disk, a damaged file."""
GEO_TABLES_KEPT = 3
ALLOCATOR = "allocator"
WATCH_INTERVAL_S = 1.0
"""How often files and expiries are looked at."""


class PortInUseError(Exception):
    """A listening address is taken; the message names it."""


class Edge:
    """All of one edge but its queries."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.tables = TableStore(settings.state_dir / "tables")
        self.geo: GeoTable | None = None
        self.geo_error = ""
        self.document_error = ""
        self.table_error = ""
        """Why the newest inputs made no table; the old one stays in use."""
        self.in_force: tuple[Plan, Status] | None = None
        """What the workers were last told to answer by."""
        self._table = ""
        self._plan: Plan | None = None
        self._status: Status | None = None
        self._keys: KeySet | None = None
        self.shelf: Shelf | None = None
        self.follower: Follower | None = None
        if isinstance(settings.source, Feed):
            feed = settings.source
            self.shelf = Shelf(settings.state_dir / "snapshots", feed.trusted)
            self.follower = Follower(
                feed.urls, feed.token, self.shelf, lambda _: self._changed.set()
            )
        self.counters = CounterBoard()
        self.workers = [
            Worker(f"dns-{n}", ["edge-worker", "dns", *_listen(settings.dns)], self._heard)
            for n in range(settings.dns_workers if settings.dns else 0)
        ]
        if settings.allocator:
            self.workers.append(Worker(ALLOCATOR, self._allocator_command(), self._heard))
        self._changed = asyncio.Event()
        self._retry = asyncio.Event()
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._document_files: list[Path] = []

    @property
    def plan(self) -> Plan | None:
        """The plan that should be in force."""
        return self.shelf.plan if self.shelf else self._plan

    @property
    def status(self) -> Status | None:
        """The status that should be in force; nothing measured counts as nothing known."""
        if self.shelf is None:
            return self._status
        if self.shelf.status is None and self.shelf.plan is not None:
            plan = self.shelf.plan
            return Status(number=0, lineage=plan.lineage, created_at=plan.created_at)
        return self.shelf.status

    @property
    def keys(self) -> KeySet | None:
        """The credential keys that should be in force."""
        return self.shelf.keys if self.shelf else self._keys

    @property
    def ready(self) -> bool:
        """Whether every worker answers by some table."""
        return self.in_force is not None and all(worker.loaded for worker in self.workers)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PortInUseError, GeodataError, DocumentError at start."""
        for listen, kinds in (
            (self.settings.dns, (socket.SOCK_DGRAM, socket.SOCK_STREAM)),
            (self.settings.allocator, (socket.SOCK_STREAM,)),
            (self.settings.metrics, (socket.SOCK_STREAM,)),
        ):
            check_free(listen, kinds)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._retry.set)
        await self._load_geo()
        if self.shelf is not None:
            self.shelf.load()
        else:
            self._load_document()
        self._changed.set()
        runner = web.AppRunner(create_observability_app(self), access_log=None)
        await runner.setup()
        for host, port in self.settings.metrics:
            await web.TCPSite(runner, host, port).start()
        coroutines = [self._rebuild(), self._watch(), *(worker.run() for worker in self.workers)]
        if self.follower is not None:
            coroutines.append(self.follower.run())
        tasks = [asyncio.create_task(each) for each in (*coroutines, stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()

    def _heard(self, worker: Worker, said: dict[str, Any]) -> None:
        if "counters" in said:
            self.counters.report(worker.name, worker.restarts, said["counters"])
        if said.get("failure"):
            log.error("worker cannot use what it was told", worker=worker.name, **said)
            asyncio.get_running_loop().call_later(RETRY_S, self._retry.set)

    def _allocator_command(self) -> list[str]:
        options = self.settings.allocator_options
        command = ["edge-worker", "allocator", *_listen(self.settings.allocator)]
        if options.public:
            command.append("--public")
        for network in options.trusted_proxies:
            command += ["--trusted-proxy", str(network)]
        for origin in options.origins:
            command += ["--origin", origin]
        return command

    async def _rebuild(self) -> None:
        """Makes tables as long as something changes; one at a time, always of the newest inputs."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            plan, status, geo = self.plan, self.status, self.geo
            if plan is None or status is None or geo is None:
                continue
            # The allocator decides without a table, so it hears of the change whatever follows.
            self._tell_allocator(plan, status, geo)
            now = datetime.now(UTC)
            try:
                path = await asyncio.to_thread(self.tables.build, plan, status, geo, now)
            except Exception as error:
                self.table_error = f"{type(error).__name__}: {error}"
                log.exception("table not compiled", plan=plan.number, status=status.number)
                asyncio.get_running_loop().call_later(RETRY_S, self._changed.set)
                continue
            if self._table != path.stem:
                log.info("table in force", table=path.name, plan=plan.number, status=status.number)
            self._table, self.table_error, self.in_force = path.stem, "", (plan, status)
            for worker in self.workers:
                if worker.name != ALLOCATOR:
                    worker.tell({"table": str(path), "geodata": str(geo.path)})

    def _tell_allocator(self, plan: Plan, status: Status, geo: GeoTable) -> None:
        keys = self.keys
        for worker in self.workers:
            if worker.name == ALLOCATOR:
                worker.tell(
                    {
                        "plan": plan.model_dump_json(),
                        "status": status.model_dump_json(),
                        "keys": keys.model_dump_json() if keys else None,
                        "geodata": str(geo.path),
                    }
                )

    async def _watch(self) -> None:
        """Notices changed files and overrides that have expired."""
        known = self._expired()
        self._files_changed()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_INTERVAL_S):
                    await self._retry.wait()
            if self._files_changed() or self._retry.is_set():
                self._retry.clear()
                await self._reload()
            if (expired := self._expired()) != known:
                known = expired
                self._changed.set()

    def _expired(self) -> frozenset[str]:
        now, plan = datetime.now(UTC), self.plan
        overrides = plan.document.overrides if plan else ()
        return frozenset(each.id for each in overrides if not each.active(now))

    def _files_changed(self) -> bool:
        watched = [self.settings.geoip_city, self.settings.geoip_asn]
        watched += self._document_files
        before = dict(self._stamps)
        for path in filter(None, watched):
            with contextlib.suppress(OSError):
                found = path.stat()
                self._stamps[path] = (found.st_mtime_ns, found.st_size)
        return self._stamps != before

    async def _reload(self) -> None:
        """Takes changed files, and mends damaged ones; what is refused leaves the old in use."""
        try:
            await self._load_geo()
        except GeodataError as error:
            self.geo_error = str(error)
            log.error("geo data refused, the old stays in use", reason=str(error))
        if self.shelf is None:
            try:
                self._load_document()
            except DocumentError as error:
                self.document_error = str(error)
                log.error("document refused, the old stays in use", reason=str(error))
        self._changed.set()

    async def _load_geo(self) -> None:
        settings = self.settings
        cache = settings.state_dir / "geodata"
        geo = await asyncio.to_thread(open_geodata, settings.geoip_city, settings.geoip_asn, cache)
        if self.geo is None or self.geo.digest != geo.digest:
            self.geo = geo
            forget_old(cache, "geo-*.fhg", GEO_TABLES_KEPT)
        self.geo_error = ""

    def _load_document(self) -> None:
        assert isinstance(self.settings.source, Path)
        now = datetime.now(UTC)
        files = DocumentFiles(self.settings.source)
        try:
            self._plan = standalone.load_plan(self.settings.source, files)
        finally:  # what is refused is watched too: it may be mended
            self._document_files = [*files.stamps]
            self._stamps |= files.stamps
        for warning in warnings_in(self._plan.document):
            log.warning("hardly meant", field=warning.field, rule=warning.rule)
        self._status = standalone.empty_status(now)
        self._keys = standalone.load_keys(self.settings.state_dir, now)
        self.document_error = ""


def check_free(listen: Sequence[Listen], kinds: Sequence[socket.SocketKind]) -> None:
    """Raises PortInUseError for an address that another process listens on.

    Workers share their port by SO_REUSEPORT, which would let two edges share it unnoticed.
    """
    for host, port in listen:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for kind in kinds:
            with socket.socket(family, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    transport = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
                    what = (
                        "is in use by another process"
                        if error.errno == errno.EADDRINUSE
                        else os.strerror(error.errno or 0)
                    )
                    raise PortInUseError(
                        f"{transport} {format_listen(host, port)} {what}"
                    ) from None


def _listen(addresses: Sequence[Listen]) -> list[str]:
    return [part for host, port in addresses for part in ("--listen", format_listen(host, port))]
