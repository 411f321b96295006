"""The inputs of the table in force, and the inputs of the table that should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.source import SnapshotSource
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import KeySet, Plan, Prices, Status


@dataclass(slots=True)
class InForce:
    """What the workers answer by; only the rebuild loop writes it."""

    snapshots: tuple[Plan, Status] | None = None
    guidance: Guidance = NO_GUIDANCE
    table: str = ""
    """Name of the table file; empty while there is none."""
    error: str = ""
    """Why the newest inputs made no table, so that an older one stays in use."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Everything that a table is compiled from, but the time."""

    plan: Plan
    status: Status
    geo: GeoTable
    guidance: Guidance


class WantedInputs:
    """What should be in force, read afresh at each call."""

    def __init__(
        self,
        source: SnapshotSource,
        geo: GeoTableSource,
        own_prices: Callable[[], Prices | None],
    ) -> None:
        """`own_prices` returns prices that this edge planned, which replace those received."""
        self._source = source
        self._geo = geo
        self._own_prices = own_prices

    def now(self) -> TableInputs | None:
        """None until there are a plan, a status and geo data."""
        plan, status, geo = self._source.plan, self._source.status, self._geo.table
        if plan is None or status is None or geo is None:
            return None
        return TableInputs(plan, status, geo, self.guidance())

    def superseded(self, inputs: TableInputs) -> bool:
        """Whether there is another plan or status by now."""
        return self._source.plan is not inputs.plan or self._source.status != inputs.status

    def keys(self) -> KeySet | None:
        """The credential keys."""
        return self._source.keys

    def guidance(self) -> Guidance:
        """Prices and round trips for the plan; those of another lineage do not count."""
        plan, prices = self._source.plan, self._own_prices()
        if plan is None:
            return NO_GUIDANCE
        guidance = self._source.guidance
        if prices is not None:
            guidance = replace(guidance, prices=prices)
        return guidance.within(plan.lineage)
