"""The parts of a control plane, made in the order in which they need each other."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.access.call_budgets import CallBudgets
from firsthop_controlplane.access.keyring import Keyring
from firsthop_controlplane.access.token_use import TokenUses
from firsthop_controlplane.access.tokens import BootstrapToken, TokenBook
from firsthop_controlplane.bodies.checker import BodyChecker
from firsthop_controlplane.bodies.reading import BodyReader
from firsthop_controlplane.configuration.change_impact import ChangeImpact, Explain
from firsthop_controlplane.configuration.revisions import Revisions
from firsthop_controlplane.deps import Deps, MintProbe
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.follower import StoreFollower
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.relay_history import RelayHistory
from firsthop_controlplane.health.status import StatusLoop
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_controlplane.history.guidance_log import GuidanceHistory
from firsthop_controlplane.leader.election import Election
from firsthop_controlplane.leader.peers import Peers, replica_secret
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.loop import LatencyLoop
from firsthop_controlplane.learning.planning import PlannerLoop
from firsthop_controlplane.measures import Measures
from firsthop_controlplane.settings import SERVICE, Settings
from firsthop_controlplane.store.engine import (
    STATEMENT_TIMEOUT_S,
    create_engine,
    create_lone_engine,
)
from firsthop_geodata.prefixes import GeoTable
from firsthop_ice.ufrag import mint_probe_credential
from firsthop_steering.feed.snapshot import KeySet, Plan, Status
from firsthop_steering.feed.token_bucket import TokenBuckets
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.registration import MAX_REGISTERED

PROBE_ENTROPY_BYTES = 7
REGISTER_EVERY_S = 10.0
"""A token may register a whole region of transceivers at once; afterwards, one change per this
time. Each change makes a revision, and revisions are kept forever."""
MAX_REGISTERING = 10_000
"""Number of tokens whose rate of registrations is tracked."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def mint_probe(keyset: KeySet, now: datetime) -> tuple[str, str]:
    """A credential for probes: relays answer it themselves."""
    entropy = secrets.token_bytes(PROBE_ENTROPY_BYTES)
    credential = mint_probe_credential(keyset, now=now, entropy=entropy)
    return credential.ufrag, credential.password


BootstrapSource = Callable[[], Sequence[BootstrapToken]]
"""Returns the tokens that the store must hold now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the composition root passes in: keys, geo data, callbacks."""

    signing_key: Ed25519PrivateKey
    master_key: bytes
    explain: Explain | None = None
    geo: GeoTable | None = None
    """Locates clients, so that their round trips can be learned; None: nothing is learned."""
    admin_token_file: Path | None = None
    """File to which the first admin token is written; None: tokens are created elsewhere."""
    bootstrap: BootstrapSource = tuple
    publish: Callable[[Plan, KeySet, Status | None], None] = lambda *_: None
    """Called for every new plan and key set, and if other transceivers take sessions: writes the
    files of processes that do not read the feed."""
    mint_probe: MintProbe = mint_probe
    now: Callable[[], datetime] = utc_now


@dataclass(frozen=True, slots=True)
class _Base:
    """What nearly every part needs."""

    settings: Settings
    parts: Parts
    engine: AsyncEngine
    feed: Feed
    leadership: ReplicaLeadership

    @property
    def kept(self) -> timedelta:
        """How long history is kept."""
        return timedelta(days=self.settings.past_kept_days)


def wire(settings: Settings, parts: Parts) -> Deps:
    """Make all parts of one control plane; start nothing."""
    engine = create_engine(
        settings.database_url, application=SERVICE, statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    leadership = ReplicaLeadership(url=settings.advertise_url, clock=time.monotonic)
    base = _Base(settings, parts, engine, Feed(parts.signing_key, parts.now), leadership)
    secret = replica_secret(parts.master_key)
    keyring, tokens, uses = Keyring(parts.master_key), TokenBook(secret), TokenUses()
    status_loop, planner = _status_loop(base, tokens), _planner_loop(base, tokens)
    latency = _latency_loop(base, planner)
    impact = ChangeImpact(base.feed, parts.explain, guard_share=settings.guard_share, now=parts.now)
    return Deps(
        settings=settings,
        engine=engine,
        revisions=Revisions(engine, parts.now, impact, allow_loopback=settings.allow_loopback),
        change_impact=impact,
        guidance_history=GuidanceHistory(engine),
        past_lock=asyncio.Lock(),
        feed=base.feed,
        keyring=keyring,
        tokens=tokens,
        token_uses=uses,
        follower=_follower(base, keyring, tokens, status_loop),
        leadership=leadership,
        election=_election(base, status_loop, latency, planner),
        peers=Peers(leadership, base.feed, parts.signing_key.public_key(), secret),
        status_loop=status_loop,
        latency=latency,
        planning=planner,
        budgets=CallBudgets(),
        body_reader=BodyReader(),
        body_checker=BodyChecker(),
        measures=Measures(base.feed, leadership, latency, uses),
        registering=TokenBuckets(
            burst=MAX_REGISTERED, refill_s=REGISTER_EVERY_S, max_keys=MAX_REGISTERING
        ),
        now=parts.now,
        mint_probe=parts.mint_probe,
        explain=parts.explain,
        geodata=parts.geo.digest if parts.geo else "",
    )


def _status_loop(base: _Base, tokens: TokenBook) -> StatusLoop:
    settings = base.settings

    def new_health(now: datetime) -> HealthState:
        shares = Shares(settings.depool_region_share, settings.depool_share)
        return HealthState(
            evaluator=VerdictEvaluator(settings.stale_after_s, shares),
            started_at=now,
            report_stale_after_s=settings.report_stale_after_s,
            settle_s=settings.settle_s,
        )

    return StatusLoop(
        base.engine,
        base.feed,
        base.leadership,
        new_health,
        interval_s=settings.status_interval_s,
        now=base.parts.now,
        history=RelayHistory(base.kept),
        is_valid=tokens.is_valid,
    )


def _planner_loop(base: _Base, tokens: TokenBook) -> PlannerLoop:
    return PlannerLoop(
        base.engine,
        base.feed,
        base.parts.geo,
        base.leadership,
        now=base.parts.now,
        clock=time.monotonic,
        plan_s=base.settings.plan_interval_s,
        warm_up_s=base.settings.plan_warm_up_s,
        is_valid=tokens.is_valid,
        kept=base.kept,
    )


def _latency_loop(base: _Base, planner: PlannerLoop) -> LatencyLoop:
    return LatencyLoop(
        base.engine,
        base.feed,
        base.parts.geo,
        base.leadership,
        planner.wanted,
        now=base.parts.now,
        clock=time.monotonic,
        learn_s=base.settings.learn_interval_s,
        exploration_share=base.settings.exploration_share,
        kept=base.kept,
    )


def _election(
    base: _Base, status_loop: StatusLoop, latency: LatencyLoop, planner: PlannerLoop
) -> Election:
    async def lead(term: int) -> None:
        await status_loop.lead(term)
        latency.lead(term)
        planner.lead(term)

    engine = create_lone_engine(
        base.settings.database_url, application=SERVICE, statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    return Election(engine, base.leadership, on_lead=lead, on_sure=status_loop.wake)


def _follower(
    base: _Base, keyring: Keyring, tokens: TokenBook, status_loop: StatusLoop
) -> StoreFollower:
    return StoreFollower(
        base.engine,
        base.feed,
        keyring,
        tokens,
        poll_s=base.settings.poll_s,
        on_change=status_loop.wake,
        publish=base.parts.publish,
    )
