"""The control plane as one aiohttp application: its parts, its routes, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.access import first_start
from firsthop_controlplane.access.keyring import Keyring
from firsthop_controlplane.access.tokens import BootstrapToken, TokenBook
from firsthop_controlplane.api import (
    history,
    keys,
    machines,
    measurements,
    planning,
    process,
    records,
    registration,
    replicas,
    resources,
    simulate,
    steering,
    stream,
    tokens,
)
from firsthop_controlplane.api.openapi import openapi
from firsthop_controlplane.api.operations import Calling, Operation, answer_json, handler_of
from firsthop_controlplane.api.problems import problems
from firsthop_controlplane.configuration.change_impact import ChangeImpact, Explain
from firsthop_controlplane.configuration.revisions import Revisions
from firsthop_controlplane.deps import DEPS, Deps, MintProbe
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.follower import StoreFollower
from firsthop_controlplane.health.departures import Departures
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.relay_history import Past
from firsthop_controlplane.health.status import StatusLoop
from firsthop_controlplane.health.verdicts import Verdicts
from firsthop_controlplane.history.guidance_log import GuidancePast
from firsthop_controlplane.leader.election import Election
from firsthop_controlplane.leader.peers import Peers, replica_secret
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
from firsthop_steering.decision.availability import unavailable_transceivers
from firsthop_steering.feed.snapshot import KeySet, Plan, Status
from firsthop_steering.feed.token_bucket import TokenBuckets
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.registration import MAX_REGISTERED

log = structlog.get_logger(__name__)
PROBE_ENTROPY_BYTES = 7
REGISTER_EVERY_S = 10.0
"""Changes of place by one token: a whole region at once, then one in so long. Each is a revision,
and the history is kept for ever."""
MAX_REGISTERING = 10_000
"""Tokens whose pace is known."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def mint_probe(keyset: KeySet, now: datetime) -> tuple[str, str]:
    """A credential that relays answer by themselves."""
    entropy = secrets.token_bytes(PROBE_ENTROPY_BYTES)
    credential = mint_probe_credential(keyset, now=now, entropy=entropy)
    return credential.ufrag, credential.password


BootstrapSource = Callable[[], Sequence[BootstrapToken]]
"""Tokens that the store is to hold, as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the composition root hands in."""

    signing_key: Ed25519PrivateKey
    master_key: bytes
    explain: Explain | None = None
    geo: GeoTable | None = None
    """Where clients are, for what is learned of their round trips; None: nothing is learned."""
    admin_token_file: Path | None = None
    """Where the first admin token is written; None: nowhere, tokens come from elsewhere."""
    bootstrap: BootstrapSource = tuple
    publish: Callable[[Plan, KeySet, Status | None], None] = lambda *_: None
    """Told of every new plan and key set, and when other transceivers take sessions: for those who
    do not follow the feed."""
    mint_probe: MintProbe = mint_probe
    now: Callable[[], datetime] = utc_now


def operations() -> tuple[Operation, ...]:
    """The whole API but its own description."""
    return (
        *process.OPERATIONS,
        *(each for resource in resources.RESOURCES for each in resources.operations_of(resource)),
        *records.OPERATIONS,
        *history.OPERATIONS,
        *steering.OPERATIONS,
        *simulate.OPERATIONS,
        *tokens.OPERATIONS,
        *keys.OPERATIONS,
        *machines.OPERATIONS,
        *registration.OPERATIONS,
        *measurements.OPERATIONS,
        *planning.OPERATIONS,
        *stream.OPERATIONS,
        *replicas.OPERATIONS,
    )


def create_app(settings: Settings, parts: Parts) -> web.Application:
    """The application; the database must have been migrated when it starts."""
    app = web.Application(middlewares=[problems], client_max_size=settings.changeset_limit)
    deps = app[DEPS] = _deps(settings, parts)
    table = (*operations(), _described())
    for operation in table:
        handler = _counted(operation, handler_of(operation), deps.measures)
        app.router.add_route(operation.method, operation.path, handler)

    async def running(_: web.Application) -> AsyncIterator[None]:
        async with _running(deps, parts):
            yield

    async def end_streams(_: web.Application) -> None:
        deps.feed.close()

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(end_streams)
    return app


def _deps(settings: Settings, parts: Parts) -> Deps:
    engine = create_engine(
        settings.database_url, application=SERVICE, statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    secret = replica_secret(parts.master_key)
    feed, keyring, book = Feed(parts.signing_key), Keyring(parts.master_key), TokenBook(secret)
    kept = timedelta(days=settings.past_kept_days)
    loop = StatusLoop(
        engine,
        feed,
        lambda now: _health_state(settings, now),
        interval_s=settings.status_interval_s,
        now=parts.now,
        past=Past(kept),
    )
    latency = LatencyLoop(
        engine,
        feed,
        parts.geo,
        now=parts.now,
        clock=time.monotonic,
        learn_s=settings.learn_interval_s,
        exploration_share=settings.exploration_share,
        kept=kept,
    )
    planner = PlannerLoop(
        engine,
        feed,
        parts.geo,
        now=parts.now,
        clock=time.monotonic,
        plan_s=settings.plan_interval_s,
        warm_up_s=settings.plan_warm_up_s,
        kept=kept,
    )

    async def lead(term: int) -> None:
        await loop.lead(term)
        latency.lead(term)
        planner.lead(term)

    election = Election(
        create_lone_engine(
            settings.database_url, application=SERVICE, statement_timeout_s=STATEMENT_TIMEOUT_S
        ),
        url=settings.advertise_url,
        clock=time.monotonic,
        on_lead=lead,
        on_sure=loop.wake,
    )
    loop.may_publish = latency.may_publish = planner.may_publish = election.may_publish
    latency.leads = lambda: election.leads
    latency.wanted = planner.wanted
    peers = Peers(election, feed, parts.signing_key.public_key(), secret)
    follower = StoreFollower(
        engine,
        feed,
        keyring,
        book,
        poll_s=settings.poll_s,
        on_plan=loop.wake,
        publish=parts.publish,
    )
    change_impact = ChangeImpact(
        feed,
        parts.explain,
        guard_share=settings.guard_share,
        now=parts.now,
    )
    return Deps(
        settings=settings,
        engine=engine,
        revisions=Revisions(engine, parts.now, change_impact),
        change_impact=change_impact,
        guidance_past=GuidancePast(engine),
        explaining_past=asyncio.Lock(),
        feed=feed,
        keyring=keyring,
        tokens=book,
        follower=follower,
        election=election,
        peers=peers,
        status_loop=loop,
        latency=latency,
        planning=planner,
        measures=Measures(feed, election, latency),
        registering=TokenBuckets(
            burst=MAX_REGISTERED, refill_s=REGISTER_EVERY_S, max_keys=MAX_REGISTERING
        ),
        now=parts.now,
        mint_probe=parts.mint_probe,
        explain=parts.explain,
    )


def _health_state(settings: Settings, now: datetime) -> HealthState:
    """Nothing seen yet."""
    return HealthState(
        verdict_rules=Verdicts(
            settings.stale_after_s, Shares(settings.depool_region_share, settings.depool_share)
        ),
        started_at=now,
        report_stale_after_s=settings.report_stale_after_s,
        settle_s=settings.settle_s,
    )


def _departures(deps: Deps) -> Departures:
    return Departures(
        deps.revisions,
        deps.feed,
        lambda: deps.health_state,
        may_remove=deps.election.may_publish,
        now=deps.now,
    )


@contextlib.asynccontextmanager
async def _running(deps: Deps, parts: Parts) -> AsyncIterator[None]:
    """Everything that goes on between requests."""
    try:
        await _prepare(deps, parts)
        async with (
            deps.peers.session(),
            _tasks(
                deps.election.run(),
                deps.peers.run(),
                deps.follower.run(),
                deps.status_loop.run(),
                deps.status_loop.save_always(),
                deps.latency.run(),
                deps.latency.history.run(),
                deps.planning.run(),
                deps.planning.history.run(),
                _departures(deps).run(),
                _follow_transceivers(deps, parts),
                _follow_bootstrap(deps, parts),
            ),
        ):
            yield
        with contextlib.suppress(Exception):
            async with asyncio.timeout(deps.settings.shutdown_s):
                await deps.status_loop.save()
                await deps.latency.history.save()
                await deps.planning.history.save()
                await deps.latency.save()
    finally:
        await deps.election.resign()
        await _dispose(deps.engine)


async def _prepare(deps: Deps, parts: Parts) -> None:
    now = parts.now()
    async with deps.revisions.session() as session, session.begin():
        await first_start.first_keys(session, deps.keyring, now)
    await _bootstrap(deps, parts.bootstrap(), now)
    if parts.admin_token_file is not None:
        async with deps.revisions.session() as session, session.begin():
            await first_start.admin_token(session, parts.admin_token_file, now)
    await deps.follower.refresh()
    await deps.election.look()
    deps.status_loop.evaluate()


async def _bootstrap(deps: Deps, given: Sequence[BootstrapToken], now: datetime) -> None:
    if given:
        async with deps.revisions.session() as session, session.begin():
            await first_start.bootstrap(session, given, now)


async def _follow_bootstrap(deps: Deps, parts: Parts) -> None:
    """Whoever starts us may learn later which machines there are."""
    done: Sequence[BootstrapToken] = ()
    while True:
        try:
            given = parts.bootstrap()
            if given != done:
                await _bootstrap(deps, given, parts.now())
                done = given
        except Exception as error:
            log.warning("bootstrap.failed", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(deps.settings.poll_s)


async def _follow_transceivers(deps: Deps, parts: Parts) -> None:
    """Relays read what is published, and no statuses."""
    feed, known = deps.feed, frozenset[str]()
    while True:
        plan, keys, status = feed.plan, feed.keys, feed.status
        if plan and keys and status and unavailable_transceivers(status) != known:
            try:
                parts.publish(plan, keys, status)
                known = unavailable_transceivers(status)
            except Exception as error:
                log.warning("publication.failed", reason=f"{type(error).__name__}: {error}")
        await feed.published.heard()


@contextlib.asynccontextmanager
async def _tasks(*coroutines: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in coroutines]  # type: ignore[call-overload]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _dispose(engine: AsyncEngine) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1):
            await engine.dispose()


def _counted(operation: Operation, handler: Handler, measures: Measures) -> Handler:
    """The handler, with its outcome in the request counter."""

    async def handle(request: web.Request) -> web.StreamResponse:
        code = "error"
        try:
            response = await handler(request)
            code = str(response.status)
            return response
        except Exception as error:
            code = str(getattr(error, "status", "5xx"))
            raise
        finally:
            measures.requests.labels(operation.name, code).inc()

    return handle


def _described() -> Operation:
    """/openapi.json, which lists itself too."""
    cache: dict[str, object] = {}

    async def describe(calling: Calling) -> web.Response:
        return answer_json(cache)

    operation = Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This description",
        tag="process",
        call=describe,
        roles=None,
        answer={"type": "object"},
    )
    cache.update(openapi((*operations(), operation), version("firsthop")))
    return operation


def addresses(runner: web.AppRunner) -> Iterator[str]:
    """Where it can be reached: `http://127.0.0.1:8080`."""
    for address in runner.addresses:
        host, port = address[0], address[1]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
