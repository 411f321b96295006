"""Explains and simulates decisions in the control plane, with its own geo data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from firsthop_controlplane.configuration.situation import Situation
from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import parse_client
from firsthop_steering.feed.snapshot import Latency, Plan, Status
from firsthop_steering.plan.model import Family
from firsthop_steering.whatif.affected import affected
from firsthop_steering.whatif.counterfactual import counterfactual
from firsthop_steering.whatif.explain import explain
from firsthop_steering.whatif.simulate import simulate
from firsthop_steering.whatif.simulation import Simulation


class Explainer:
    """Explains with one geo table; keeps the RTT maps of the last two plans.

    The constructor raises GeodataError if the databases cannot be used.
    """

    def __init__(self, city: Path | None, asn: Path | None, cache_dir: Path) -> None:
        self.geo = open_geodata(city, asn, cache_dir)
        self._maps: tuple[RttMap, ...] = ()

    def __call__(
        self,
        situation: Situation,
        service_id: str,
        client: str,
        vantage: str | None,
        *,
        want: str | None = None,
        family: Family | None = None,
    ) -> Mapping[str, Any]:
        """The content of a `/v1/explain` response, for an edge at `vantage`.

        `family` is that of the addresses that the client asks for; None: its own. Raises ValueError
        if `client` is malformed.
        """
        address = parse_client(client)
        steering = self._steering(situation, vantage)
        service = steering.topology.services[service_id]
        explanation = explain(steering, service, address, family)
        if want is not None:
            asker = steering.topology.client(address)
            explanation["want"] = counterfactual(steering, service, asker, want, family)
        return explanation

    def effects(
        self,
        before: Situation,
        after: Situation,
        clients: Sequence[IPv4Address | IPv6Address] | None = None,
        *,
        service: str | None = None,
    ) -> tuple[Simulation, ...]:
        """How the clients of every service move, or only of the service with this name.

        `clients` None: all addresses that the geo table locates.
        """
        old, new = (self._steering(each, None) for each in (before, after))
        sessions = _sessions(before.status)
        names = {each.name for side in (old, new) for each in side.topology.services.values()}
        return tuple(
            simulate(old, new, name, clients, sessions=sessions)
            for name in sorted(names)
            if service in (None, name)
        )

    def changes(self, before: Situation, after: Situation) -> tuple[Simulation, ...]:
        """How all clients move, for every service whose clients may move; the guidance stays."""
        old, new = (self._steering(each, None) for each in (before, after))
        sessions = _sessions(before.status)
        return tuple(simulate(old, new, name, sessions=sessions) for name in affected(old, new))

    def _steering(self, situation: Situation, vantage: str | None) -> Steering:
        known = situation.guidance.within(situation.plan.lineage)
        rtt = self._map(situation.plan, known.latency)
        return Steering(
            rtt.topology,
            situation.status,
            situation.now,
            vantage=vantage,
            rtt=rtt,
            prices=known.prices,
        )

    def _map(self, plan: Plan, latency: Latency | None) -> RttMap:
        """The RTT map of a plan; cached by identity, as plans and latency are immutable."""
        of_plan = [each for each in self._maps if each.topology.plan is plan]
        found = next((each for each in of_plan if each.latency is latency), None)
        if found is None:
            of_latency = [each for each in self._maps if each.latency is latency]
            former = next(iter((*of_plan, *of_latency, *self._maps)), None)
            found = RttMap.following(former, plan, self.geo, latency)
            others = [each for each in self._maps if each.topology.plan is not plan]
            self._maps = (*others[-1:], found)
        return found


def _sessions(status: Status) -> int | None:
    """The sum of the sessions that agents report; None if no agent reports."""
    reported = [each.sessions for each in status.relays.values() if each.sessions is not None]
    return sum(reported) if reported else None
