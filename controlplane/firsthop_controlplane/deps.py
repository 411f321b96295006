"""What API handlers use: the parts of a running control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.access.call_budgets import CallBudgets
from firsthop_controlplane.access.keyring import Keyring
from firsthop_controlplane.access.token_use import TokenUses
from firsthop_controlplane.access.tokens import Principal, TokenBook, digest_of
from firsthop_controlplane.bodies.checker import BodyChecker
from firsthop_controlplane.bodies.reading import BodyReader
from firsthop_controlplane.configuration.change_impact import ChangeImpact, Explain
from firsthop_controlplane.configuration.revisions import Revisions
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.follower import StoreFollower
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.status import StatusLoop
from firsthop_controlplane.history.guidance_log import GuidanceHistory
from firsthop_controlplane.leader.election import Election
from firsthop_controlplane.leader.peers import Peers
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.loop import LatencyLoop
from firsthop_controlplane.learning.planning import PlannerLoop
from firsthop_controlplane.measures import Measures
from firsthop_controlplane.settings import Settings
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.ledger import TokenRow
from firsthop_steering.feed.snapshot import KeySet
from firsthop_steering.feed.token_bucket import TokenBuckets

MintProbe = Callable[[KeySet, datetime], tuple[str, str]]
"""`mint_probe(keys, now) -> (ufrag, password)` for the reserved region wire id 0."""


@dataclass(frozen=True, slots=True)
class Deps:
    """`explain` is None if the control plane was started without geo data."""

    settings: Settings
    engine: AsyncEngine
    revisions: Revisions
    change_impact: ChangeImpact
    guidance_history: GuidanceHistory
    """Prices and latency at past times."""
    past_lock: asyncio.Lock
    """Held while a past answer is explained, as each may need a map of round trips of its own."""
    feed: Feed
    keyring: Keyring
    tokens: TokenBook
    token_uses: TokenUses
    follower: StoreFollower
    leadership: ReplicaLeadership
    election: Election
    peers: Peers
    status_loop: StatusLoop
    latency: LatencyLoop
    planning: PlannerLoop
    measures: Measures
    budgets: CallBudgets
    body_reader: BodyReader
    body_checker: BodyChecker
    registering: TokenBuckets
    """Limits how often one token may change its registered transceivers."""
    now: Callable[[], datetime]
    mint_probe: MintProbe
    explain: Explain | None
    geodata: str
    """The digest of the geo data that `explain` uses; empty if there are none."""

    @property
    def health(self) -> HealthState:
        """The health state under the present leadership; empty while another replica leads."""
        return self.status_loop.health

    async def principal(self, secret: str, address: str | None) -> Principal | None:
        """The owner of a token, from memory or else from the database; None if it is unknown.

        Memory works without the database, but lacks tokens just created on another replica. Raises
        TooMany if `address` has sent too many unknown tokens.
        """
        known = self.tokens.find(secret)
        if known is not None:
            return known
        self.budgets.spend_unknown(address, self.now().timestamp())
        query = select(TokenRow).where(TokenRow.digest == digest_of(secret))
        async with self.revisions.session() as session:
            row = await session.scalar(query)
        if row is None:
            return None
        await self.took_effect()  # so that a stream opened with this token is not ended at once
        return Principal(row.id, row.name, row.role, row.scope, row.expires_at)

    async def took_effect(self) -> None:
        """Read what was just committed, so that it is in force here before the call is answered.

        If the database cannot be reached any more, the change is still valid, and the follower
        reads it later.
        """
        try:
            await self.follower.refresh()
        except Exception as error:
            if not unavailable(error):
                raise


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)
