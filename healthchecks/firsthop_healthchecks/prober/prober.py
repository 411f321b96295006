"""The prober: active checks of every target from one vantage.

Three independent loops: targets are pulled, each target is checked on its own schedule, and the
whole view is reported. Without the control plane it goes on with the last targets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from zlib import crc32

import structlog

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_healthchecks.prober.statefile import StateFile
from firsthop_healthchecks.prober.target_policy import RefusedCheck, TargetPolicy
from firsthop_healthchecks.prober.watch import Watch
from firsthop_healthchecks.probes import ProbeCheck
from firsthop_healthchecks.yielding import unhurried
from firsthop_steering.feed.reports import ProbeReport, ProbeTarget, ProbeTargets, VantageView
from firsthop_steering.health.families import RelayAddress

PULL_S = 5.0
REPORT_S = 1.0
MAX_TARGETS = 20_000  # addresses; a relay with both families counts twice
VIEWS_PER_PART = 1000  # on average; even if every check fails, a part then stays below 1 MiB


log = structlog.get_logger("firsthop.prober")


class ProberIngest(Protocol):
    """The control plane, as needed here; both calls raise ControlPlaneCallError."""

    @property
    def waits(self) -> bool:
        """Whether `probe_targets` waits for a change, rather than answering at once."""
        ...

    async def probe_targets(self) -> ProbeTargets | None: ...

    async def send_probe_report(self, report: ProbeReport) -> None: ...


class Prober:
    """All watches of one prober, and its exchange with the control plane. Runs once."""

    def __init__(
        self,
        prober: str,
        vantage: str,
        *,
        control_plane: ProberIngest,
        state: StateFile,
        probes: Mapping[str, ProbeCheck],
        policy: TargetPolicy,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """`prober` is its id, `vantage` the id of the vantage that it checks from."""
        self._prober = prober
        self._vantage = vantage
        self._control_plane = control_plane
        self._state = state
        self._probes = probes
        self._policy = policy
        self._wall = wall
        self._targets: ProbeTargets | None = None
        self._watches: dict[RelayAddress, Watch] = {}
        self._turned = asyncio.Event()
        self._pull_again = asyncio.Event()
        self._start = 0.0

    async def run(self) -> None:
        """Probe until cancelled."""
        self._start = asyncio.get_running_loop().time()
        try:
            known = self._state.read()
            if known is not None:
                await self._follow(known)
                log.info("targets.loaded", targets=len(self._watches))
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    keep_doing(self._pull, name="targets", every_s=PULL_S, wake=self._pull_again)
                )
                group.create_task(
                    keep_doing(self._report, name="report", every_s=REPORT_S, wake=self._turned)
                )
        finally:
            stopped = [self._forget(address) for address in list(self._watches)]
            await asyncio.gather(*filter(None, stopped), return_exceptions=True)
            for probe in self._probes.values():
                await probe.close()

    async def reports(self) -> tuple[ProbeReport, ...]:
        """The current views in parts; targets that were never checked are left out.

        An address keeps its part as long as the number of parts stays the same.
        """
        count = max(1, -(-len(self._watches) // VIEWS_PER_PART))
        views: list[list[VantageView]] = [[] for _ in range(count)]
        async for (relay, family), watch in unhurried(list(self._watches.items())):
            view = watch.view()
            if view is not None:
                views[crc32(f"{relay} {family}".encode()) % count].append(view)
        sent_at = self._wall()
        return tuple(
            ProbeReport(
                prober=self._prober,
                vantage=self._vantage,
                sent_at=sent_at,
                part=number,
                parts=count,
                views=tuple(each),
            )
            for number, each in enumerate(views, start=1)
        )

    async def _pull(self) -> None:
        targets = await self._control_plane.probe_targets()
        if targets is not None and targets != self._targets:
            await self._follow(targets)
            await asyncio.to_thread(self._state.write, targets)
        if self._control_plane.waits:
            self._pull_again.set()

    async def _report(self) -> None:
        for part in await self.reports():
            await self._control_plane.send_probe_report(part)

    async def _follow(self, targets: ProbeTargets) -> None:
        self._targets = targets
        if len(targets.targets) > MAX_TARGETS:
            log.error("targets.overflowed", targets=len(targets.targets), taken=MAX_TARGETS)
        wanted = {(each.relay, each.family): each for each in targets.targets[:MAX_TARGETS]}
        for gone in self._watches.keys() - wanted.keys():
            self._forget(gone)
        async for address, target in unhurried(wanted.items()):
            if address in self._watches:
                self._watches[address].retarget(target)
            else:
                watch = self._watches[address] = self._watch(target)
                watch.start()

    def _watch(self, target: ProbeTarget) -> Watch:
        return Watch(
            target,
            probe=self._probe,
            turned=self._turned.set,
            # So that neither probers nor a relay's two addresses are checked in step.
            key=f"{self._prober} {target.relay} {target.family}",
            start=self._start,
            wall=self._wall,
        )

    def _forget(self, address: RelayAddress) -> asyncio.Task[None] | None:
        return self._watches.pop(address).stop()

    def _probe(self, target: ProbeTarget) -> ProbeCheck:
        refusal = self._policy.refusal(target)
        return self._probes[target.kind] if refusal is None else RefusedCheck(refusal)
