"""What a change of the configuration would do to clients, and whether it may do so much."""

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
from firsthop_steering.whatif.simulation import Simulation

_STEERS = ("regions", "relays", "transceiver_regions", "transceivers", "services", "overrides")
"""The collections that a decision depends on; zones are not among them."""
_MOVES_TOLD = 3


SimulatedClients = Sequence[IPv4Address | IPv6Address] | None


class Explain(Protocol):
    """What knows where clients are. Called in a thread."""

    def __call__(
        self,
        situation: Situation,
        service_id: str,
        client: str,
        vantage: str | None,
        /,
        *,
        want: str | None = None,
    ) -> Mapping[str, Any]:
        """Why a client is answered as it is by an edge whose place is `vantage`.

        And what would put it on the region `want`, which must be one of the service's pool.
        ValueError when the client cannot be read.
        """

    def effects(
        self,
        before: Situation,
        after: Situation,
        clients: SimulatedClients = None,
        *,
        service: str | None = None,
    ) -> tuple[Simulation, ...]:
        """What becomes of the clients of each service, or of the one of this name.

        `clients` None: of all addresses that have a place.
        """

    def changes(self, before: Situation, after: Situation, /) -> tuple[Simulation, ...]:
        """The same of each service whose clients may move at all."""


class ChangeImpact:
    """Compares documents under the status of now."""

    def __init__(
        self,
        feed: Feed,
        explain: Explain | None,
        *,
        guard_share: float,
        now: Callable[[], datetime],
    ) -> None:
        """`explain` None: there is no geo data here, so nothing is foreseen and all is allowed."""
        self._feed = feed
        self._explain = explain
        self._guard_share = guard_share
        self._now = now
        self._turn = asyncio.Lock()

    async def compare(
        self, before: Document, after: Document, number: int
    ) -> tuple[Simulation, ...] | None:
        """What becomes of the clients of each service that `after` may move.

        `before` is revision `number`. None: it cannot be told.
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
        """As `Explain.effects`, one at a time: each may keep a core busy for seconds."""
        if self._explain is None:
            return ()
        async with self._turn:
            return await asyncio.to_thread(
                self._explain.effects, before, after, clients, service=service
            )

    def plan(self, document: Document, number: int) -> Plan:
        """A plan to compare by, which is sealed for nobody."""
        present = self._feed.plan
        lineage = present.lineage if present else "foresight"
        return Plan(number=number, lineage=lineage, created_at=self._now(), document=document)

    def under(self, plan: Plan) -> Situation:
        """This plan under what is measured, learned and charged now; nothing at first."""
        status = self._feed.status or self.nothing()
        return Situation(plan, status, self._now(), self._feed.guidance)

    def nothing(self) -> Status:
        """A status that knows no relay."""
        return Status(number=0, lineage="foresight", created_at=self._now())

    def guard(self, effects: tuple[Simulation, ...] | None) -> None:
        """Raises Refused (409) when more clients of a service would move than the guard allows."""
        beyond = [each for each in effects or () if each.upset > self._guard_share]
        if beyond:
            rules = [BrokenRule(f"services/{each.service}", _rule(each)) for each in beyond]
            detail = (
                f"{rules[0].field}: {rules[0].rule}; the guard allows {self._guard_share:.0%}. "
                "Nothing was changed; send force if it is meant."
            )
            raise Refused(409, "guarded", "It moves too many clients", detail, rules)


def _rule(effect: Simulation) -> str:
    """How many move, from where to where."""
    said = f"would move {effect.moved:.1%} of the clients"
    if effect.moved_ipv6 is not None and effect.moved_ipv6 > effect.moved:
        said += f", {effect.moved_ipv6:.1%} of those with IPv6"
    moves = [
        f"{each.source} to {each.target or 'nowhere'} {each.share:.1%}"
        for each in effect.moves
        if each.source is not None
    ]
    return f"{said} ({', '.join(moves[:_MOVES_TOLD])})" if moves else said
