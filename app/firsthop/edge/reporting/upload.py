"""Uploads demand and measured round trips to the control plane that the edge follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.reporting.demand import DemandBuffer, DemandReporter
from firsthop.edge.reporting.posting import Poster
from firsthop.edge.reporting.samples import EdgeSampleReporter
from firsthop.edge.reporting.worker_reports import WorkerReports


async def upload(
    source: SnapshotSource, reports: WorkerReports, demand: DemandBuffer, *, token: str
) -> None:
    """Upload until cancelled, to the replica to which `source` is connected."""
    async with Poster(token, lambda: source.connected_to) as poster:
        answers = DemandReporter(poster, demand, reports.counters.totals)
        samples = EdgeSampleReporter(poster, reports.samples, now=lambda: datetime.now(UTC))
        await asyncio.gather(answers.run(), samples.run())
