"""Isolation pricing of a whole edge: the planner and the load of relays, with their inputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from firsthop.edge.compiling.in_force import InForce
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.isolation.isolated_planner import IsolatedPlanner, PlanningInputs
from firsthop.edge.isolation.relay_loads import Askable, LoadWatch, askable
from firsthop.edge.reporting.demand import DemandBuffer, Totals
from firsthop_steering.decision.candidates_up import candidates_up
from firsthop_steering.decision.topology import pool_sites
from firsthop_steering.feed.snapshot import Prices


class IsolationPricing:
    """Detects isolation; during it, requests relays' loads and plans prices."""

    def __init__(
        self,
        source: SnapshotSource,
        geo: GeoTableSource,
        *,
        tables: TableStore,
        in_force: InForce,
        buffer: DemandBuffer,
        totals: Callable[[], Totals],
        on_change: Callable[[], None],
    ) -> None:
        """`buffer` and `totals`: this edge's answers; `on_change` is called for other prices."""
        self._source = source
        self._geo = geo
        self._tables = tables
        self._in_force = in_force
        self._loads = LoadWatch(self._askable, lambda: source.keys)
        self._planner = IsolatedPlanner(
            buffer, totals, self._loads, clock=time.monotonic, on_change=on_change
        )

    def prices(self) -> Prices | None:
        """The edge's own prices, which replace the received ones; None if there are none."""
        return self._planner.prices

    def isolated(self) -> bool:
        """Whether the edge plans its own prices."""
        return self._planner.isolated

    async def run(self) -> None:
        """Run until cancelled."""
        await asyncio.gather(self._loads.run(), self._planner.run(self._inputs))

    def _inputs(self) -> PlanningInputs:
        plan, status = self._in_force.snapshots or (None, None)
        return PlanningInputs(
            plan,
            status,
            self._geo.table,
            self._in_force.guidance.latency,
            self._tables.rtt,
            received=self._source.guidance.within(plan.lineage).prices if plan else None,
            fed=bool(self._source.connected_to),
        )

    def _askable(self) -> list[Askable]:
        """The addresses of the relays that are up."""
        if self._in_force.snapshots is None:
            return []
        plan, status = self._in_force.snapshots
        sites = pool_sites(plan, "relays")
        return askable(plan, candidates_up(sites, status, vantage=None, now=datetime.now(UTC)))
