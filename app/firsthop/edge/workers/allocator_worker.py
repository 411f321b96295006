"""The allocator's process: prepares a state of the snapshots, and serves HTTP from it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from firsthop.process.pipe import SupervisorPipe
from firsthop_allocator.allocations.state import AllocatorState, Holder
from firsthop_allocator.http.counts import AllocatorCounters
from firsthop_allocator.settings import AllocatorSettings
from firsthop_allocator.worker import serve
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import GeoTable
from firsthop_ice.ufrag import CredentialKeys
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.demand import prefix_text
from firsthop_steering.feed.snapshot import KeySet, Latency, Plan, Prices, Status

REPORT_INTERVAL_S = 1.0
SAMPLES_A_LINE = 250
"""Samples per line of a report; each has about 250 octets."""


async def run(
    sockets: Sequence[socket.socket], settings: AllocatorSettings, *, vantage: str | None
) -> None:
    """Run until the supervisor ends; `vantage` is the edge's own region.

    Requests wait in the sockets until there is a state, or the supervisor sends `unready`.
    """
    pipe = await SupervisorPipe.open()
    holder, counts, stop, begin = Holder(), AllocatorCounters(), asyncio.Event(), asyncio.Event()
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
    """Make a new state for every change."""
    states = _States(pipe, holder, begin, vantage)
    try:
        async for message in pipe.messages():
            await states.take(message)
    finally:
        states.close()


class _States:
    """Makes allocator states from the supervisor's messages; keeps geo table, topology and RTT map.

    A thread maps new round trips. Meanwhile the former ones remain in use, so that a new status
    does not wait for the map; a new plan does.
    """

    def __init__(
        self, pipe: SupervisorPipe, holder: Holder, begin: asyncio.Event, vantage: str | None
    ) -> None:
        self._pipe, self._holder, self._begin, self._vantage = pipe, holder, begin, vantage
        self._known: dict[str, Any] = {}
        self._geo: GeoTable | None = None
        self._plan: Plan | None = None
        self._prices: Prices | None = None
        self._latency: Latency | None = None
        self._rtt: RttMap | None = None
        self._mapping: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Stops mapping."""
        if self._mapping is not None:
            self._mapping.cancel()

    async def take(self, message: dict[str, Any]) -> None:
        """Use changed values in a new state."""
        known = self._known
        changed = {key for key, value in message.items() if known.get(key) != value}
        known.update(message)
        former = self._rtt
        if "geodata" in changed or ("geodata" in known and self._geo is None):
            try:
                self._geo, self._rtt = GeoTable.open(Path(known["geodata"])), None
            except GeodataError as error:
                self._pipe.send(failure=str(error))
        if "plan" in changed:
            self._plan, self._rtt = Plan.model_validate_json(known["plan"]), None
        if "prices" in changed:
            text = known["prices"]
            self._prices = Prices.model_validate_json(text) if text else None
        if "latency" in changed:
            text = known["latency"]
            reading = asyncio.to_thread(Latency.model_validate_json, text) if text else None
            self._latency = await reading if reading else None
        if self._plan is None or self._geo is None:
            if "unready" in known:
                self._begin.set()
            return
        if self._rtt is None:
            self._rtt = await asyncio.to_thread(
                RttMap.following, former, self._plan, self._geo, self._latency
            )
        elif self._rtt.latency is not self._latency and self._mapping is None:
            self._mapping = asyncio.create_task(self._map())
        self._show()

    async def _map(self) -> None:
        """Map round trips until the newest are in use."""
        try:
            while self._rtt is not None and self._rtt.latency is not self._latency:
                before = self._rtt
                made = await asyncio.to_thread(RttMap, before.topology, self._latency)
                if self._rtt is before:
                    self._rtt = made
                    self._show()
        finally:
            self._mapping = None

    def _show(self) -> None:
        known, plan, rtt = self._known, self._plan, self._rtt
        assert plan is not None
        assert rtt is not None
        status = Status.model_validate_json(known["status"])
        if known.get("keys") is None:
            self._holder.reason = "no credential keys have arrived yet"
        else:
            keys = KeySet.model_validate_json(known["keys"])
            now = datetime.now(UTC)
            steering = Steering(
                rtt.topology, status, now, vantage=self._vantage, rtt=rtt, prices=self._prices
            )
            self._holder.state = AllocatorState(
                steering,
                CredentialKeys.from_keyset(keys),
                keys.allocator_tokens,
                previous=self._holder.state,
            )
        self._pipe.send(failure="", loaded=f"plan {plan.number} status {status.number}")
        self._begin.set()


async def _report(pipe: SupervisorPipe, counts: AllocatorCounters) -> None:
    while True:
        await asyncio.sleep(REPORT_INTERVAL_S)
        allocations = [
            ({"service": service, "region": region, "result": result}, value)
            for (service, region, result), value in counts.allocations.items()
        ]
        clients = [
            (*cast(tuple[str, str], service_and_region), prefix_text(prefix), count)
            for (service_and_region, prefix), count in counts.survey.take().items()
        ]
        explored = [
            ({"service": service, "region": region}, value)
            for (service, region), value in counts.explored.items()
        ]
        counters = {
            "firsthop_allocations_total": allocations,
            "firsthop_allocations_explored_total": explored,
        }
        samples = counts.samples.first(SAMPLES_A_LINE)
        if pipe.report(counters=counters, clients=clients, samples=samples):
            counts.samples.passed(len(samples))
