"""Explains and foresees decisions where there is no edge: the control plane's own geo data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.atlas import Atlas, parse_client
from firsthop_steering.counterfactual import counterfactual
from firsthop_steering.decide import Steering
from firsthop_steering.explain import explain
from firsthop_steering.simulate import simulate
from firsthop_steering.simulation import Simulation
from firsthop_steering.snapshot import Plan, Status


class Explainer:
    """Over one geo table; keeps the atlases of the last two plans.

    Raises GeodataError at its making when the databases cannot be used.
    """

    def __init__(self, city: Path | None, asn: Path | None, cache_dir: Path) -> None:
        self.geo = open_geodata(city, asn, cache_dir)
        self._atlases: tuple[Atlas, ...] = ()

    def __call__(
        self,
        plan: Plan,
        status: Status,
        service_id: str,
        client: str,
        vantage: str | None,
        *,
        now: datetime,
        want: str | None = None,
    ) -> Mapping[str, Any]:
        """As `/v1/explain` answers, for an edge at `vantage`.

        Raises ValueError when the client cannot be read.
        """
        address = parse_client(client)
        steering = self._steering(plan, status, now, vantage)
        service = steering.atlas.services[service_id]
        said = explain(steering, service, address)
        if want is not None:
            asker = steering.atlas.client(address)
            said["want"] = counterfactual(steering, service, asker, want)
        return said

    def effects(
        self,
        before: tuple[Plan, Status],
        after: tuple[Plan, Status],
        clients: Sequence[IPv4Address | IPv6Address] | None = None,
        *,
        service: str | None = None,
    ) -> tuple[Simulation, ...]:
        """What becomes of the clients of every service, or of the one of this name.

        `clients` None: of all that the geo table places.
        """
        now = datetime.now(UTC)
        old, new = (self._steering(*each, now, None) for each in (before, after))
        sessions = _sessions(before[1])
        names = {each.name for side in (old, new) for each in side.atlas.services.values()}
        return tuple(
            simulate(old, new, name, clients, sessions=sessions)
            for name in sorted(names)
            if service in (None, name)
        )

    def _steering(self, plan: Plan, status: Status, now: datetime, vantage: str | None) -> Steering:
        atlas = next((each for each in self._atlases if each.plan is plan), None)
        if atlas is None:
            atlas = Atlas(plan, self.geo)
            self._atlases = (*self._atlases[-1:], atlas)
        return Steering(atlas, status, now, vantage=vantage)


def _sessions(status: Status) -> int | None:
    """All that agents report; None where none does."""
    told = [each.sessions for each in status.relays.values() if each.sessions is not None]
    return sum(told) if told else None
