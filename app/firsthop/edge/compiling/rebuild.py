"""The rebuild loop: compiles a table whenever its inputs change, and puts it in force.

It decides which inputs are compiled first, which compilation is abandoned, and when to retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from firsthop.edge.compiling.in_force import InForce, TableInputs, WantedInputs
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.workers.worker_pool import EdgeWorkerPool

log = structlog.get_logger(__name__)

RETRY_S = 2.0
"""Delay after a failure whose cause may pass, such as a full disk or a damaged file."""
DISK_RETRY_S = 10.0
"""Pause before a table that is only in memory is compiled again, in case the disk has room."""


class SupersededError(Exception):
    """Plan or status changed during a compilation that was only for new guidance."""


class Rebuilder:
    """Compiles one table at a time, always from the newest inputs."""

    def __init__(
        self,
        wanted: WantedInputs,
        tables: TableStore,
        workers: EdgeWorkerPool,
        in_force: InForce,
        *,
        changed: asyncio.Event,
        send_options: Callable[[], None],
    ) -> None:
        """Every change of an input sets `changed`; `send_options` sends the DNS options."""
        self._wanted = wanted
        self._tables = tables
        self._workers = workers
        self._in_force = in_force
        self._changed = changed
        self._send_options = send_options

    async def run(self) -> None:
        """Rebuild after every change, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._send_options()
            wanted = self._wanted.now()
            if wanted is not None:
                await self._rebuild(wanted)

    async def _rebuild(self, wanted: TableInputs) -> None:
        """Compile the wanted inputs; a plan or status does not wait for new guidance.

        If plan or status are new too, and the map of round trips of the new guidance is not made
        yet, a table with the former guidance is compiled first. A table that is only for new
        guidance is abandoned for a new plan or status.
        """
        # The allocator needs no table, so it gets the new snapshots at once.
        self._workers.send_snapshots(
            wanted.plan,
            wanted.status,
            self._wanted.keys(),
            geo=wanted.geo,
            guidance=wanted.guidance,
        )
        before = self._in_force.snapshots
        urgent = before != (wanted.plan, wanted.status)
        former = replace(
            wanted,
            plan=before[0] if before else wanted.plan,
            guidance=self._in_force.guidance,
        )
        first = wanted
        if urgent and before is not None:
            former = replace(former, guidance=former.guidance.within(wanted.plan.lineage))
            if not self._tables.has_mapped(wanted.plan, wanted.geo, wanted.guidance.latency):
                first = replace(wanted, guidance=former.guidance)
                self._changed.set()
        newest = first.guidance == wanted.guidance
        try:
            made = await self._compile(first, newest=newest, give_way=not urgent)
        except SupersededError:
            return
        if not made and (former.plan is not first.plan or former.guidance != first.guidance):
            # A new status must not wait for a plan or guidance that cannot be compiled.
            await self._compile(former, newest=False)

    async def _compile(self, inputs: TableInputs, *, newest: bool, give_way: bool = False) -> bool:
        """Put the table of `inputs` in force; returns False, and retries later, if it cannot be
        compiled.

        Raises SupersededError if `give_way` is set and plan or status have changed.
        """

        def checkpoint() -> None:
            if give_way and self._wanted.superseded(inputs):
                raise SupersededError

        try:
            path = await asyncio.to_thread(
                self._tables.build,
                inputs.plan,
                inputs.status,
                inputs.geo,
                datetime.now(UTC),
                inputs.guidance,
                checkpoint=checkpoint,
            )
        except SupersededError:
            raise
        except Exception as error:
            self._failed(inputs, f"{type(error).__name__}: {error}")
            return False
        plan, status, held = inputs.plan, inputs.status, self._in_force
        held.table, held.snapshots, held.guidance = path.stem, (plan, status), inputs.guidance
        if newest:
            held.error = ""
        self._workers.send_table(path, inputs.geo, plan=plan.number, status=status.number)
        if self._tables.disk_error:
            self._try_again(DISK_RETRY_S)
        return True

    def _failed(self, inputs: TableInputs, reason: str) -> None:
        """Called while the exception is handled; logs each reason once."""
        if reason != self._in_force.error:
            log.exception(
                "table.compile_failed", plan=inputs.plan.number, status=inputs.status.number
            )
        self._in_force.error = reason
        self._try_again(RETRY_S)

    def _try_again(self, after_s: float) -> None:
        asyncio.get_running_loop().call_later(after_s, self._changed.set)
