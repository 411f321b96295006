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
from firsthop_steering.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.rtt_map import RttMap
from firsthop_steering.snapshot import Plan, Status


class Explainer:
    """`explain(plan, status, service_id, client)` over one geo table; keeps the last RTT map.

    Raises GeodataError at its making when the databases cannot be used.
    """

    def __init__(self, city: Path | None, asn: Path | None, cache_dir: Path) -> None:
        self.geo = open_geodata(city, asn, cache_dir)
        self._rtt: RttMap | None = None

    def __call__(
        self,
        plan: Plan,
        status: Status,
        service_id: str,
        client: str,
        vantage: str | None,
        guidance: Guidance = NO_GUIDANCE,
    ) -> Mapping[str, Any]:
        """As `/v1/explain` answers, for an edge at `vantage`.

        Raises ValueError when the client cannot be read.
        """
        address = parse_client(client)
        known = guidance.within(plan.lineage)
        rtt = self._rtt
        if rtt is None or rtt.atlas.plan is not plan or rtt.latency is not known.latency:
            same = rtt is not None and rtt.atlas.plan is plan
            atlas = rtt.atlas if rtt is not None and same else Atlas(plan, self.geo)
            rtt = self._rtt = RttMap(atlas, known.latency)
        now = datetime.now(UTC)
        steering = Steering(rtt.atlas, status, now, vantage=vantage, rtt=rtt, prices=known.prices)
        return explain(steering, rtt.atlas.services[service_id], address)
