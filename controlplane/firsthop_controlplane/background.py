"""What a control plane does besides serving: prepare the store, run tasks, save at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.access import first_start
from firsthop_controlplane.access.tokens import BootstrapToken
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.health.departures import Departures
from firsthop_controlplane.wiring import Parts
from firsthop_steering.decision.availability import unavailable_transceivers

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def running(deps: Deps, parts: Parts) -> AsyncIterator[None]:
    """Prepare the store, then run every task while the context is open."""
    try:
        await _prepare(deps, parts)
        async with (
            deps.peers.session(),
            _tasks(
                deps.election.run(),
                deps.peers.run(),
                deps.follower.run(),
                deps.token_uses.save_always(deps.engine, deps.now),
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
        await _save(deps)
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


async def _save(deps: Deps) -> None:
    """Save what is not in the store yet, within the time limit of the shutdown."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(deps.settings.shutdown_s):
            await deps.token_uses.save(deps.engine)
            await deps.status_loop.save()
            await deps.latency.history.save()
            await deps.planning.history.save()
            await deps.latency.save()


def _departures(deps: Deps) -> Departures:
    return Departures(
        deps.revisions,
        deps.feed,
        lambda: deps.health,
        may_remove=deps.leadership.may_publish,
        now=deps.now,
    )


async def _bootstrap(deps: Deps, given: Sequence[BootstrapToken], now: datetime) -> None:
    if given:
        async with deps.revisions.session() as session, session.begin():
            await first_start.bootstrap(session, given, now)


async def _follow_bootstrap(deps: Deps, parts: Parts) -> None:
    """Add the bootstrap tokens whenever their file changes: machines may be added at run time."""
    done: Sequence[BootstrapToken] = ()
    while True:
        try:
            given = parts.bootstrap()
            if given != done:
                await _bootstrap(deps, given, parts.now())
                done = given
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            log.warning("bootstrap.failed", reason=reason)
        await asyncio.sleep(deps.settings.poll_s)


async def _follow_transceivers(deps: Deps, parts: Parts) -> None:
    """Write the files of relays again when the set of available transceivers changes.

    Relays read these files, not statuses.
    """
    feed, known = deps.feed, frozenset[str]()
    while True:
        plan, keys, status = feed.plan, feed.keys, feed.status
        if plan and keys and status and unavailable_transceivers(status) != known:
            try:
                parts.publish(plan, keys, status)
                known = unavailable_transceivers(status)
            except Exception as error:
                log.warning("publication.failed", reason=f"{type(error).__name__}: {error}")
        await feed.published.wait()


@contextlib.asynccontextmanager
async def _tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in coroutines]
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
