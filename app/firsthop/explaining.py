"""Explains decisions where there is no edge: the control plane's own copy of the geo data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.atlas import Atlas, parse_client
from firsthop_steering.decide import Steering
from firsthop_steering.explain import explain
from firsthop_steering.snapshot import Plan, Status


class Explainer:
    """`explain(plan, status, service_id, client)` over one geo table; keeps the last atlas.

    Raises GeodataError at its making when the databases cannot be used.
    """

    def __init__(self, city: Path | None, asn: Path | None, cache_dir: Path) -> None:
        self.geo = open_geodata(city, asn, cache_dir)
        self._atlas: Atlas | None = None

    def __call__(
        self, plan: Plan, status: Status, service_id: str, client: str, vantage: str | None
    ) -> Mapping[str, Any]:
        """As `/v1/explain` answers, for an edge at `vantage`.

        Raises ValueError when the client cannot be read.
        """
        address = parse_client(client)
        atlas = self._atlas
        if atlas is None or atlas.plan is not plan:
            atlas = self._atlas = Atlas(plan, self.geo)
        steering = Steering(atlas, status, datetime.now(UTC), vantage=vantage)
        return explain(steering, atlas.services[service_id], address)
