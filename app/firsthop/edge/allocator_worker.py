"""The allocator's process: lays out what snapshots say, and serves HTTP from it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from firsthop.edge.pipe import SupervisorPipe
from firsthop_allocator.counts import Counts
from firsthop_allocator.settings import AllocatorSettings
from firsthop_allocator.view import AllocatorView, Holder
from firsthop_allocator.worker import serve
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.atlas import Atlas
from firsthop_steering.decide import Steering
from firsthop_steering.demand import prefix_text
from firsthop_steering.snapshot import KeySet, Plan, Status
from firsthop_steering.ufrag import CredentialKeys

REPORT_INTERVAL_S = 1.0


async def run(
    sockets: Sequence[socket.socket], settings: AllocatorSettings, *, vantage: str | None
) -> None:
    """Until the supervisor is gone; `vantage` is the edge's own region.

    Requests wait in the sockets until there is what to answer by, or the supervisor says that there
    is nothing to wait for (`unready`).
    """
    pipe = await SupervisorPipe.open()
    holder, counts, stop, begin = Holder(), Counts(), asyncio.Event(), asyncio.Event()
    following = asyncio.create_task(_follow(pipe, holder, begin, vantage))
    reporting = asyncio.create_task(_report(pipe, counts))
    beginning = asyncio.create_task(begin.wait())
    await asyncio.wait([following, beginning], return_when=asyncio.FIRST_COMPLETED)
    beginning.cancel()
    serving = [
        asyncio.create_task(serve(settings, holder, each, stop=stop, counts=counts))
        for each in sockets
        if begin.is_set()
    ]
    done, _ = await asyncio.wait([following, *serving], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    reporting.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    for task in done:
        task.result()


async def _follow(
    pipe: SupervisorPipe, holder: Holder, begin: asyncio.Event, vantage: str | None
) -> None:
    """Makes a new view of every change; atlas and geo table live on while they hold."""
    plan: Plan | None = None
    geo: GeoTable | None = None
    atlas: Atlas | None = None
    known: dict[str, Any] = {}
    async for said in pipe.news():
        changed = {key for key, value in said.items() if known.get(key) != value}
        known.update(said)
        if "geodata" in changed or ("geodata" in known and geo is None):
            try:
                geo, atlas = GeoTable.open(Path(known["geodata"])), None
            except GeodataError as error:
                pipe.say(failure=str(error))
        if "plan" in changed:
            plan, atlas = Plan.model_validate_json(known["plan"]), None
        if plan is None or geo is None:
            if "unready" in known:
                begin.set()
            continue
        if atlas is None:
            atlas = Atlas(plan, geo)
        status = Status.model_validate_json(known["status"])
        if known.get("keys") is None:
            holder.reason = "no credential keys have arrived yet"
        else:
            keys = KeySet.model_validate_json(known["keys"])
            steering = Steering(atlas, status, datetime.now(UTC), vantage=vantage)
            holder.view = AllocatorView(
                steering,
                CredentialKeys.from_keyset(keys),
                keys.allocator_tokens,
                previous=holder.view,
            )
        pipe.say(failure="", loaded=f"plan {plan.number} status {status.number}")
        begin.set()


async def _report(pipe: SupervisorPipe, counts: Counts) -> None:
    while True:
        await asyncio.sleep(REPORT_INTERVAL_S)
        allocations = [
            ({"service": service, "region": region, "result": result}, value)
            for (service, region, result), value in counts.allocations.items()
        ]
        clients = [
            (*cast(tuple[str, str], place), prefix_text(prefix), count)
            for (place, prefix), count in counts.survey.take().items()
        ]
        pipe.report(counters={"firsthop_allocations_total": allocations}, clients=clients)
