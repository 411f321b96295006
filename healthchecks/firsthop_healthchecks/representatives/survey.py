"""Measures the representatives that an operator named, from beside a relay, by its agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

import structlog

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.probes import Passed, ProbeCheck, ProbeOutcome, Unable
from firsthop_healthchecks.probes.icmp import no_ping_sockets
from firsthop_healthchecks.representatives.listing import Representative
from firsthop_healthchecks.representatives.rota import EVERY_S, Rota
from firsthop_steering.feed.reports import ProbeTarget
from firsthop_steering.feed.sample_queue import SampleRow, SampleUploadQueue
from firsthop_steering.plan.model import ProbeKind

TRIES = 3
"""Of which the fastest counts: whatever is slower waited in a queue."""
TIMEOUT_S = 1.0
TICK_S = 1.0
"""Below the least gap between two checks, so nobody who comes free meanwhile is late."""
SAY_S = 60.0

log = structlog.get_logger("firsthop.agent")


def measurable(
    representatives: Sequence[Representative],
    refusal: Callable[[int], str | None] = no_ping_sockets,
) -> tuple[Representative, ...]:
    """Those that this host can measure; who else there is, and why not, is said in the log.

    `refusal` says why there are no echo requests by IP version 4 or 6; None: there are.
    """
    pinged = Counter(each.address.version for each in representatives if each.port is None)
    refused = {version: why for version in pinged if (why := refusal(version)) is not None}
    for version, reason in refused.items():
        log.warning(
            "echo.unavailable",
            ip_version=version,
            representatives_left_out=pinged[version],
            reason=reason,
        )
    return tuple(
        each
        for each in representatives
        if each.port is not None or each.address.version not in refused
    )


class Survey:
    """Checks of all representatives; `counts` are checks by their outcome."""

    def __init__(
        self,
        relay: str,
        representatives: Sequence[Representative],
        *,
        probes: Mapping[str, ProbeCheck],
        board: SampleUploadQueue,
        every_s: float = EVERY_S,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """`relay` is the relay's id; `probes` has those of kinds `icmp` and `tcp`."""
        self.counts = Counter(answered=0, silent=0, unable=0)
        self._relay = relay
        self._representatives = representatives
        self._probes = probes
        self._board = board
        self._every_s = every_s
        self._wall = wall

    async def run(self) -> NoReturn:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        rota = Rota(
            [f"{self._relay} {each.address}" for each in self._representatives],
            every_s=self._every_s,
            now=loop.time(),
            wall_s=self._wall().timestamp(),
        )
        log.info(
            "representatives",
            representatives=len(self._representatives),
            every_s=round(rota.interval_s),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._say())
            while True:
                number = rota.take(loop.time())
                if number is None:
                    await asyncio.sleep(min(TICK_S, max(0.0, rota.next_at() - loop.time())))
                else:
                    group.create_task(self._turn(rota, number))

    async def _turn(self, rota: Rota, number: int) -> None:
        result = await self.check(self._representatives[number])
        self.counts[result] += 1
        now = asyncio.get_running_loop().time()
        rota.ended(number, answered=result != "silent", now=now)

    async def check(self, representative: Representative) -> str:
        """Measure one, and put what was measured on the board; the outcome's name in `counts`."""
        times = []
        result = "silent"
        for _ in range(TRIES):
            outcome = await self._try(representative)
            if isinstance(outcome, Unable):
                result = "unable"
                break
            if isinstance(outcome, Passed):
                times.append(outcome.duration_ms)
        if not times:
            return result
        at = self._wall().timestamp()
        self._board.note([SampleRow(str(representative.prefix), self._relay, min(times), at, True)])
        return "answered"

    async def _try(self, representative: Representative) -> ProbeOutcome:
        kind: ProbeKind = "icmp" if representative.port is None else "tcp"
        target = ProbeTarget(
            relay=self._relay,
            kind=kind,
            address=representative.address,
            port=representative.port or 1,
            interval_s=self._every_s,
            timeout_s=TIMEOUT_S,
            rise=1,
            fall=1,
        )
        try:
            return await self._probes[kind].check(target)
        except Exception:
            log.exception("probe.failed", address=str(representative.address), kind=kind)
            return Unable("fault")

    async def _say(self) -> NoReturn:
        """A line a minute, of what was done in it."""
        before = Counter(self.counts)
        while True:
            await asyncio.sleep(SAY_S)
            done = {name: self.counts[name] - before[name] for name in self.counts}
            before = Counter(self.counts)
            if any(done.values()):
                log.info("representatives.checked", **done, waiting=self._board.waiting)
