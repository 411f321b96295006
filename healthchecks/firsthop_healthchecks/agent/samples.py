"""Uploads an agent's RTT samples to the control plane, in batches that each count only once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn, Protocol

import structlog

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_net.api_session import CallRefused
from firsthop_steering.feed.measurements import SampleBatch
from firsthop_steering.feed.sample_queue import SampleUploadQueue

EVERY_S = 10.0

log = structlog.get_logger("firsthop.agent")


class SampleIngest(Protocol):
    """The control plane, as needed here; raises ControlPlaneCallError."""

    async def send_samples(self, batch: SampleBatch) -> None: ...


class AgentSampleReporter:
    """Uploads the samples of a queue."""

    def __init__(
        self,
        control_plane: SampleIngest,
        board: SampleUploadQueue,
        *,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._control_plane = control_plane
        self._board = board
        self._wall = wall
        self._refused = False

    async def run(self) -> NoReturn:
        """Upload every 10 s until cancelled."""
        await keep_doing(self.send, name="samples", every_s=EVERY_S)

    async def send(self) -> None:
        """Upload all samples. Raises ControlPlaneCallError if a batch must be sent again."""
        while (batch := self._board.due(self._wall(), secrets.token_urlsafe(12))) is not None:
            try:
                await self._control_plane.send_samples(batch)
            except CallRefused as error:
                self._log_refused(str(error))
                self._board.ended("refused")
            else:
                self._refused = False
                self._board.ended("told")

    def _log_refused(self, reason: str) -> None:
        """Log the first of several refusals: the relay was deleted, or the control plane is old."""
        if not self._refused:
            log.warning("samples.refused", reason=reason)
        self._refused = True
