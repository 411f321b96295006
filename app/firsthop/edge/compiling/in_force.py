"""The inputs of the table in force, and the inputs of the table that should be in force."""

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
    """What the workers use to answer; only the rebuild loop changes it."""

    snapshots: tuple[Plan, Status] | None = None
    guidance: Guidance = NO_GUIDANCE
    table: str = ""
    """Name of the table file; empty if there is none yet."""
    error: str = ""
    """Why the newest inputs gave no table, so that an older one remains in use."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Everything that a table is compiled from, except the time."""

    plan: Plan
    status: Status
    geo: GeoTable
    guidance: Guidance


class WantedInputs:
    """The inputs that should be in force; every call reads them anew."""

    def __init__(
        self,
        source: SnapshotSource,
        geo: GeoTableSource,
        own_prices: Callable[[], Prices | None],
    ) -> None:
        """`own_prices` returns prices that this edge planned; they replace the received ones."""
        self._source = source
        self._geo = geo
        self._own_prices = own_prices

    def now(self) -> TableInputs | None:
        """The present inputs; None if plan, status or geo data are missing."""
        plan, status, geo = self._source.plan, self._source.status, self._geo.table
        if plan is None or status is None or geo is None:
            return None
        return TableInputs(plan, status, geo, self.guidance())

    def superseded(self, inputs: TableInputs) -> bool:
        """Whether the plan or status has changed since."""
        return self._source.plan is not inputs.plan or self._source.status != inputs.status

    def keys(self) -> KeySet | None:
        """The credential keys."""
        return self._source.keys

    def guidance(self) -> Guidance:
        """Prices and round trips for the plan; those of another lineage are omitted."""
        plan, prices = self._source.plan, self._own_prices()
        if plan is None:
            return NO_GUIDANCE
        guidance = self._source.guidance
        if prices is not None:
            guidance = replace(guidance, prices=prices)
        return guidance.within(plan.lineage)
