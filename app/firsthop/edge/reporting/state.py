"""The parts of an edge that metrics and readiness are read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firsthop.edge.compiling.in_force import InForce
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.reporting.worker_reports import WorkerReports
from firsthop.process.workers import Worker
from firsthop_steering.feed.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EdgeState:
    """References to the parts, so that every read gives present values."""

    source: SnapshotSource
    geo: GeoTableSource
    tables: TableStore
    in_force: InForce
    reports: WorkerReports
    workers: Sequence[Worker]
    isolated: Callable[[], bool]
    """Whether the edge plans its own prices."""

    @property
    def ready(self) -> bool:
        """Whether every worker has a table."""
        return self.in_force.snapshots is not None and all(each.loaded for each in self.workers)

    @property
    def snapshots(self) -> list[Snapshot]:
        """The snapshots in force; older than the received ones while no table can be compiled."""
        guidance = self.in_force.guidance
        plan_and_status = self.in_force.snapshots or ()
        held = (*plan_and_status, self.source.keys, guidance.prices, guidance.latency)
        return [each for each in held if each is not None]

    @property
    def disk_error(self) -> str:
        """Why a restart would begin with older data than that in force; empty if it would not."""
        return self.source.disk_error or self.tables.disk_error
