"""The impact of a configuration change on clients, and the guard that limits it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

from firsthop_controlplane.configuration.situation import Situation
from firsthop_controlplane.errors import BrokenRule, Refused
from firsthop_controlplane.feed.feed import Feed
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Family
from firsthop_steering.whatif.simulation import Simulation

_STEERS = ("regions", "relays", "transceiver_regions", "transceivers", "services", "overrides")
"""The collections that a decision depends on; zones are not among them."""
_MOVES_SHOWN = 3
_LINEAGE = "comparison"
"""Lineage of plans and statuses that are only compared, never published."""


SimulatedClients = Sequence[IPv4Address | IPv6Address] | None


class Explain(Protocol):
    """Explains and compares decisions, with geo data to locate clients. Called in a thread."""

    def __call__(
        self,
        situation: Situation,
        service_id: str,
        client: str,
        vantage: str | None,
        /,
        *,
        want: str | None = None,
        family: Family | None = None,
    ) -> Mapping[str, Any]:
        """Why an edge at `vantage` gives a client its answer.

        Also what would send the client to the region `want`, which must be one of the service's
        pool. Raises ValueError if `client` is malformed.
        """

    def effects(
        self,
        before: Situation,
        after: Situation,
        clients: SimulatedClients = None,
        *,
        service: str | None = None,
    ) -> tuple[Simulation, ...]:
        """How the clients of each service move, or only of the service with this name.

        `clients` None: all addresses that can be located.
        """

    def changes(self, before: Situation, after: Situation, /) -> tuple[Simulation, ...]:
        """How all clients move, for each service that the change could re-route."""


class ChangeImpact:
    """Compares documents under the present status, prices and latency."""

    def __init__(
        self,
        feed: Feed,
        explain: Explain | None,
        *,
        guard_share: float,
        now: Callable[[], datetime],
    ) -> None:
        """`explain` None: without geo data, impact is not known and every change is allowed."""
        self._feed = feed
        self._explain = explain
        self._guard_share = guard_share
        self._now = now
        self._one_at_a_time = asyncio.Lock()

    async def compare(
        self, before: Document, after: Document, number: int
    ) -> tuple[Simulation, ...] | None:
        """How clients move, for each service that `after` could re-route.

        `before` is revision `number`. Returns None if there is no geo data.
        """
        if self._explain is None:
            return None
        if all(getattr(before, name) == getattr(after, name) for name in _STEERS):
            return ()
        present = self._feed.plan
        if present is None or present.number != number:
            present = self.plan(before, number)
        was = self.under(present)
        then = replace(was, plan=self.plan(after, number + 1))
        return await asyncio.to_thread(self._explain.changes, was, then)

    async def simulate(
        self, before: Situation, after: Situation, clients: SimulatedClients, *, service: str | None
    ) -> tuple[Simulation, ...]:
        """Like `Explain.effects`; runs one at a time, since each may use a core for seconds."""
        if self._explain is None:
            return ()
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                self._explain.effects, before, after, clients, service=service
            )

    def plan(self, document: Document, number: int) -> Plan:
        """A plan for comparisons, which is never published."""
        present = self._feed.plan
        lineage = present.lineage if present else _LINEAGE
        return Plan(number=number, lineage=lineage, created_at=self._now(), document=document)

    def under(self, plan: Plan) -> Situation:
        """A plan under the present status, prices and latency."""
        status = self._feed.status or self.empty_status()
        return Situation(plan, status, self._now(), self._feed.guidance)

    def empty_status(self) -> Status:
        """A status in which nothing has been measured."""
        return Status(number=0, lineage=_LINEAGE, created_at=self._now())

    def guard(self, effects: tuple[Simulation, ...] | None) -> None:
        """Raises Refused (409) if more clients of a service would move than the guard allows."""
        beyond = [each for each in effects or () if each.upset > self._guard_share]
        if beyond:
            rules = [BrokenRule(f"services/{each.service}", _rule(each)) for each in beyond]
            detail = (
                f"{rules[0].field}: {rules[0].rule}; the guard allows {self._guard_share:.0%}. "
                "Nothing was changed; to make the change anyway, send force."
            )
            raise Refused(409, "guarded", detail, rules)


def _rule(effect: Simulation) -> str:
    """How many clients would move, and between which regions."""
    rule = f"would move {effect.moved:.1%} of the clients"
    if effect.moved_ipv6 is not None and effect.moved_ipv6 > effect.moved:
        rule += f", {effect.moved_ipv6:.1%} of those with IPv6"
    moves = [
        f"{each.source} to {each.target or 'nowhere'} {each.share:.1%}"
        for each in effect.moves
        if each.source is not None
    ]
    return f"{rule} ({', '.join(moves[:_MOVES_SHOWN])})" if moves else rule
