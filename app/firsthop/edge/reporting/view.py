"""What metrics and readiness are read from: the parts of an edge, and what follows from them."""

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
class EdgeView:
    """The parts themselves, so that each look at them is current."""

    source: SnapshotSource
    geo: GeoTableSource
    tables: TableStore
    in_force: InForce
    reports: WorkerReports
    workers: Sequence[Worker]
    isolated: Callable[[], bool]
    """Whether the edge plans prices for itself."""

    @property
    def ready(self) -> bool:
        """Whether every worker answers by some table."""
        return self.in_force.snapshots is not None and all(each.loaded for each in self.workers)

    @property
    def snapshots(self) -> list[Snapshot]:
        """The snapshots in force; older than those received while no table can be compiled."""
        guidance = self.in_force.guidance
        plan_and_status = self.in_force.snapshots or ()
        held = (*plan_and_status, self.source.keys, guidance.prices, guidance.latency)
        return [each for each in held if each is not None]

    @property
    def disk_error(self) -> str:
        """Why a restart would not begin with what is in force now; empty when it would."""
        return self.source.disk_error or self.tables.disk_error
