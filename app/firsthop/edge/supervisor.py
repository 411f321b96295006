"""The edge's one process that knows everything: follows, compiles, keeps workers alive, reports.

It never touches a query. What changes (snapshot, document, geo data, an override that expires) sets
one event; the loop behind it makes the table that holds now and tells the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from firsthop.document_files import DocumentFiles, DocumentStamp, stamp_of
from firsthop.edge.compiling.tables import TableStore, ended, forget_old
from firsthop.edge.following import file_source as standalone
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.edge.isolation.isolated_planner import SILENT_S, IsolatedPlanner, PlanningInputs
from firsthop.edge.isolation.relay_loads import Askable, LoadWatch, askable
from firsthop.edge.reporting.demand import AnswerSource, DemandBoard, DemandReporter
from firsthop.edge.reporting.observability import CounterBoard, create_observability_app
from firsthop.edge.reporting.posting import Poster
from firsthop.edge.reporting.samples import EdgeSampleReporter
from firsthop.edge.settings import EdgeSettings, FeedSettings
from firsthop.edge.workers.sockets import ALLOCATOR, METRICS, ListeningSockets
from firsthop.edge.workers.worker_pool import EdgeWorkerPool
from firsthop.process.takeover import READY_WITHIN_S, StateClaim, TakeOverError, claim
from firsthop.process.workers import Worker
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.decision.candidates_up import candidates_up
from firsthop_steering.decision.topology import pool_sites
from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.sample_queue import SampleRow, SampleUploadQueue
from firsthop_steering.feed.snapshot import KeySet, Plan, Status
from firsthop_steering.plan.document import DocumentError, warnings_in

log = structlog.get_logger(__name__)

GC_THRESHOLDS = (100_000, 50, 100)
"""A document of 100,000 records is no garbage; looking for some would take a third of its time."""
RETRY_S = 2.0
"""After what failed for a reason that may pass: a full disk, a damaged file."""
DISK_RETRY_S = 10.0
"""How often a table in memory is made again, to see whether the disk takes it."""
GEO_TABLES_KEPT = 3
WATCH_INTERVAL_S = 1.0
"""How often files and expiries are looked at."""
UNREADY_AFTER_S = 1.0
"""Queries wait so long for a first table, which on disk takes less; then they hear of it."""


class SupersededError(Exception):
    """A table that is being made for new guidance only: plan or status have changed meanwhile."""


class Edge:
    """All of one edge but its queries."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.tables = TableStore(settings.state_dir / "tables", vantage=settings.region)
        self.geo: GeoTable | None = None
        self.geo_error = ""
        self.document_error = ""
        self.table_error = ""
        """Why the newest inputs made no table; the old one stays in use."""
        self.in_force: tuple[Plan, Status] | None = None
        """What the workers were last told to answer by."""
        self.guidance_in_force = NO_GUIDANCE
        self._table = ""
        self._plan: Plan | None = None
        self._status: Status | None = None
        self._keys: KeySet | None = None
        self.shelf: SnapshotStore | None = None
        self.follower: FeedFollower | None = None
        if isinstance(settings.source, FeedSettings):
            feed = settings.source
            self.shelf = SnapshotStore(settings.state_dir / "snapshots", feed.trusted)
            self.follower = FeedFollower(
                feed.urls, feed.token, self.shelf, lambda _: self._changed.set()
            )
        self.counters = CounterBoard()
        self.demand = DemandBoard()
        self._own_demand = DemandBoard()
        self.loads = LoadWatch(self._askable, lambda: self.keys)
        self.lone = IsolatedPlanner(
            self._own_demand,
            self.counters.totals,
            self.loads,
            clock=time.monotonic,
            on_change=lambda: self._changed.set(),
        )
        self.samples = SampleUploadQueue()
        self.crew: EdgeWorkerPool
        self._said_ready = asyncio.Event()
        """A worker has said something that readiness may follow from."""
        self._heard_at = 0.0
        """When the control plane was last connected, in loop time."""
        self._changed = asyncio.Event()
        self._retry = asyncio.Event()
        self._stamps: dict[Path, DocumentStamp] = {}
        """What files looked like when they were read."""
        self._seen: dict[Path, DocumentStamp] = {}
        """What files looked like a moment ago."""
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
    def guidance(self) -> Guidance:
        """The prices and round trips that should be in force; a document of one's own has none."""
        if self.shelf is None or self.shelf.plan is None:
            return NO_GUIDANCE
        guidance = self.shelf.guidance
        if self.lone.prices is not None:
            guidance = replace(guidance, prices=self.lone.prices)
        return guidance.within(self.shelf.plan.lineage)

    @property
    def disk_error(self) -> str:
        """Why a restart would not begin with what is in force now; empty when it would."""
        return (self.shelf.disk_error if self.shelf else "") or self.tables.disk_error

    @property
    def ready(self) -> bool:
        """Whether every worker answers by some table."""
        return self.in_force is not None and all(worker.loaded for worker in self.crew.workers)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, or until another edge has taken over.

        Raises PortInUseError, TakeOverError, GeodataError, DocumentError at start.
        """
        gc.set_threshold(*GC_THRESHOLDS)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._retry.set)
        place = await claim(self.settings.state_dir, take_over=self.settings.take_over)
        with contextlib.closing(place):
            sockets = ListeningSockets(place.inherited)
            with contextlib.closing(sockets):
                sockets.bind(self.settings)
                await self._load_geo()
                if self.shelf is not None:
                    self.shelf.load()
                else:
                    self._load_document()
                await self._serve(place, sockets, stop)

    async def _serve(
        self, place: StateClaim, sockets: ListeningSockets, stop: asyncio.Event
    ) -> None:
        self.crew = EdgeWorkerPool(self.settings, sockets, on_line=self._heard)
        self._heard_at = asyncio.get_running_loop().time()
        self._tell_options()
        self._changed.set()
        runner = web.AppRunner(create_observability_app(self), access_log=None)
        await runner.setup()
        coroutines = [
            self._rebuild(),
            self._watch(),
            *(worker.run() for worker in self.crew.workers),
        ]
        if self.follower is not None:
            coroutines.append(self.follower.run())
            coroutines.append(self._report(self.follower))
            coroutines.append(self.loads.run())
            coroutines.append(self.lone.run(self._circumstances))
        coroutines.append(self._be_in(place, sockets, runner))
        tasks = [asyncio.create_task(each) for each in (*coroutines, stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Before the workers stop: what they close last is then closed for good.
            sockets.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(runner.cleanup(), *tasks, return_exceptions=True)

    async def _report(self, follower: FeedFollower) -> None:
        """Tells the control plane that is followed what was answered, and measured by clients."""
        assert isinstance(self.settings.source, FeedSettings)
        async with Poster(self.settings.source.token, lambda: follower.connected_to) as poster:
            demand = DemandReporter(poster, self.demand, self.counters.totals)
            samples = EdgeSampleReporter(poster, self.samples, now=lambda: datetime.now(UTC))
            await asyncio.gather(demand.run(), samples.run())

    def _circumstances(self) -> PlanningInputs:
        plan, status = self.in_force or (None, None)
        received = None
        if self.shelf is not None and plan is not None:
            received = self.shelf.guidance.within(plan.lineage).prices
        return PlanningInputs(
            plan,
            status,
            self.geo,
            self.guidance_in_force.latency,
            self.tables.rtt,
            received=received,
            fed=self.follower is not None and bool(self.follower.connected_to),
        )

    def _askable(self) -> list[Askable]:
        """The relays that tell how much they carry, while this edge is alone."""
        if self.in_force is None:
            return []
        plan, status = self.in_force
        sites = pool_sites(plan, "relays")
        return askable(plan, candidates_up(sites, status, vantage=None, now=datetime.now(UTC)))

    async def _be_in(
        self, place: StateClaim, sockets: ListeningSockets, runner: web.AppRunner
    ) -> None:
        """Takes the place of a predecessor, if there is one; returns when a successor has it."""
        if place.predecessor is not None:
            try:
                async with asyncio.timeout(READY_WITHIN_S):
                    while not self.ready:
                        await self._said_ready.wait()
                        self._said_ready.clear()
            except TimeoutError:
                rule = f"not ready within {READY_WITHIN_S:.0f} s, so the other edge goes on"
                raise TakeOverError(f"{rule}: {self.table_error or 'no table'}") from None
            await place.take()
            log.info("edge.taken_over")
        for sock in sockets.of(METRICS):
            await web.SockSite(runner, sock.dup()).start()
        asyncio.get_running_loop().call_later(UNREADY_AFTER_S, self.crew.tell_unready)
        await place.give(sockets.files())
        log.info("edge.handed_over")

    def _tell_options(self) -> None:
        """Passes on what has changed of them: keys, or the silence of the control plane."""
        now = asyncio.get_running_loop().time()
        if self.follower is None or self.follower.connected_to:
            self._heard_at = now
        self.crew.tell_options(self.keys, stale=now - self._heard_at > SILENT_S)

    def _heard(self, worker: Worker, said: dict[str, Any]) -> None:
        self._said_ready.set()
        if "counters" in said:
            self.counters.report(worker.name, worker.restarts, said["counters"])
        if said.get("clients") and self.follower is not None:
            source: AnswerSource = "allocations" if worker.name == ALLOCATOR else "dns"
            for board in (self.demand, self._own_demand):
                board.note(source, said["clients"])
        if said.get("samples"):
            self.samples.note(SampleRow(*each) for each in said["samples"])
        if said.get("failure"):
            log.error("worker.update_failed", worker=worker.name, **said)
            asyncio.get_running_loop().call_later(RETRY_S, self._retry.set)

    async def _rebuild(self) -> None:
        """Makes tables as long as something changes; one at a time, always of the newest inputs.

        Plan and status do not wait for new guidance: while that is not laid out yet a table by the
        former goes first, and one that is made for its sake alone gives way to them.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._tell_options()
            plan, status, geo, guidance = self.plan, self.status, self.geo, self.guidance
            if plan is None or status is None or geo is None:
                continue
            # The allocator decides without a table, so it hears of the change whatever follows.
            self.crew.tell_snapshots(plan, status, self.keys, geo=geo, guidance=guidance)
            former, known = self.in_force[0] if self.in_force else plan, self.guidance_in_force
            urgent = self.in_force is None or self.in_force != (plan, status)
            if urgent and self.in_force is not None:
                known = known.within(plan.lineage)
                if not self.tables.has_mapped(plan, geo, guidance.latency):
                    guidance = known
                    self._changed.set()
            instead = guidance != self.guidance
            try:
                made = await self._compile(
                    plan, status, geo, guidance, instead=instead, give_way=not urgent
                )
            except SupersededError:
                continue
            if not made and (former is not plan or known != guidance):
                # Who is up must not wait for a plan, or for guidance, that cannot be had.
                await self._compile(former, status, geo, known, instead=True)

    async def _compile(
        self,
        plan: Plan,
        status: Status,
        geo: GeoTable,
        guidance: Guidance,
        *,
        instead: bool = False,
        give_way: bool = False,
    ) -> bool:
        """Puts the table of these in force; False if it cannot be made, to be tried again.

        Raises SupersededError when it is to give way and there is another plan or status.
        """
        now = datetime.now(UTC)

        def checkpoint() -> None:
            if give_way and (self.plan is not plan or self.status != status):
                raise SupersededError

        try:
            path = await asyncio.to_thread(
                self.tables.build, plan, status, geo, now, guidance, checkpoint=checkpoint
            )
        except SupersededError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if reason != self.table_error:
                log.exception("table.compile_failed", plan=plan.number, status=status.number)
            self.table_error = reason
            asyncio.get_running_loop().call_later(RETRY_S, self._changed.set)
            return False
        if self._table != path.stem:
            log.info("table.activated", table=path.name, plan=plan.number, status=status.number)
        self._table, self.in_force = path.stem, (plan, status)
        self.guidance_in_force = guidance
        if not instead:
            self.table_error = ""
        self.crew.tell_table(path, geo)
        if self.tables.disk_error:
            asyncio.get_running_loop().call_later(DISK_RETRY_S, self._changed.set)
        return True

    async def _watch(self) -> None:
        """Notices changed files, what has expired, and that the feed is silent."""
        known = self._expired()
        self._files_changed()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_INTERVAL_S):
                    await self._retry.wait()
            self._tell_options()
            if self.shelf is not None:
                self.shelf.keep()
            if self._files_changed() or self._retry.is_set():
                self._retry.clear()
                await self._reload()
            if (expired := self._expired()) != known:
                known = expired
                self._changed.set()

    def _expired(self) -> frozenset[str]:
        return ended(self.plan, datetime.now(UTC)) if self.plan else frozenset()

    def _files_changed(self) -> bool:
        watched = [self.settings.geoip_city, self.settings.geoip_asn]
        watched += self._document_files
        seen = self._seen
        self._seen = {path: stamp_of(path) for path in filter(None, watched)}
        if self._seen != seen:  # somebody may still be writing
            return False
        before = self._seen | self._stamps  # a database was read before it was first looked at
        self._stamps = before | self._seen
        return self._stamps != before

    async def _reload(self) -> None:
        """Takes changed files, and mends damaged ones; what is refused leaves the old in use."""
        try:
            await self._load_geo()
        except GeodataError as error:
            self.geo_error = str(error)
            log.error("geodata.refused", reason=str(error))
        if self.shelf is None:
            try:
                await asyncio.to_thread(self._load_document)
            except DocumentError as error:
                self.document_error = str(error)
                log.error("document.refused", reason=str(error))
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
            log.warning("document.warned", field=warning.field, rule=warning.rule)
        self._status = standalone.empty_status(now)
        self._keys = standalone.load_keys(self.settings.state_dir, now)
        self.document_error = ""
