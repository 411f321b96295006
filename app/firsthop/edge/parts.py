"""Makes and connects the parts of an edge, and lists the loops that run them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from firsthop.edge.compiling.in_force import InForce, WantedInputs
from firsthop.edge.compiling.rebuild import Rebuilder
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.feed_source import FeedSource
from firsthop.edge.following.file_source import FileSource
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.following.watch import InputWatch
from firsthop.edge.isolation.detector import FeedSilence
from firsthop.edge.isolation.pricing import IsolationPricing
from firsthop.edge.reporting.demand import DemandBuffer
from firsthop.edge.reporting.state import EdgeState
from firsthop.edge.reporting.upload import upload
from firsthop.edge.reporting.worker_reports import WorkerReports
from firsthop.edge.settings import EdgeSettings, FeedSettings
from firsthop.edge.workers.sockets import ListeningSockets
from firsthop.edge.workers.worker_pool import EdgeWorkerPool


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """The parts of an edge that its supervisor uses."""

    workers: EdgeWorkerPool
    state: EdgeState
    received: asyncio.Event
    """Set by each message of a worker, since it may change the readiness."""
    loops: Sequence[Callable[[], Awaitable[object]]]
    """Each runs until cancelled."""


async def load_source(
    settings: EdgeSettings, changed: asyncio.Event
) -> tuple[SnapshotSource, GeoTableSource]:
    """Load the snapshots and geo data on disk. Raises GeodataError, DocumentError."""
    cache = settings.state_dir / "geodata"
    geo = GeoTableSource(settings.geoip_city, settings.geoip_asn, cache=cache)
    await geo.load()
    source = _source(settings, geo, changed)
    source.load()
    return source, geo


def _source(settings: EdgeSettings, geo: GeoTableSource, changed: asyncio.Event) -> SnapshotSource:
    feed = settings.source
    if not isinstance(feed, FeedSettings):
        return FileSource(feed, settings.state_dir, allow_loopback=settings.allow_loopback)
    folder = settings.state_dir / "snapshots"
    store = SnapshotStore(folder, feed.trusted, any_age=feed.any_age)
    follower = FeedFollower(
        feed.urls, feed.token, store, lambda _: changed.set(), geodata=lambda: geo.digest
    )
    return FeedSource(store, follower)


def wire(
    settings: EdgeSettings,
    source: SnapshotSource,
    geo: GeoTableSource,
    *,
    sockets: ListeningSockets,
    changed: asyncio.Event,
    reload: asyncio.Event,
) -> EdgeParts:
    """`changed` starts the rebuild loop; `reload` makes the edge read all files again."""
    tables, in_force = TableStore(settings.state_dir / "tables", vantage=settings.region), InForce()
    uploaded, own = DemandBuffer(), DemandBuffer()
    # Without a control plane, nothing would remove the content of the buffers.
    reports = WorkerReports([uploaded, own] if source.feed else [], retry=reload.set)
    workers = EdgeWorkerPool(settings, sockets, on_line=reports.take)
    isolation = IsolationPricing(
        source,
        geo,
        tables=tables,
        in_force=in_force,
        buffer=own,
        totals=reports.counters.totals,
        on_change=changed.set,
    )
    silence = FeedSilence(source, clock=asyncio.get_running_loop().time)

    def send_options() -> None:
        workers.send_options(source.keys, stale=silence.stale())

    rebuilder = Rebuilder(
        WantedInputs(source, geo, isolation.prices),
        tables,
        workers,
        in_force,
        changed=changed,
        send_options=send_options,
    )
    watch = InputWatch(source, geo, reload=reload, on_tick=send_options, on_change=changed.set)
    loops = [rebuilder.run, watch.run, *(each.run for each in workers.workers), source.run]
    if isinstance(settings.source, FeedSettings):
        post = partial(upload, source, reports, uploaded, token=settings.source.token)
        loops += [post, isolation.run]
    state = EdgeState(source, geo, tables, in_force, reports, workers.workers, isolation.isolated)
    return EdgeParts(workers, state, reports.received, loops)
