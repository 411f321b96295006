"""Passes on the round trips that a relay measured of its own clients, as its `/samples` has them.

A relay of another make may not serve them, and nothing is said then.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_steering.measurements import MOST_SAMPLES, Sample, SampleBatch

EVERY_S = 10.0
TIMEOUT_S = 1.0
OLDEST_S = 600.0
"""The control plane takes none that are older than 15 minutes, and refuses a batch whole."""


class ControlPlane(Protocol):
    """What this needs of the control plane; raises ControlPlaneError."""

    async def send_samples(self, batch: SampleBatch) -> None: ...


class RoundTrips:
    """One relay's. A batch is sent under its name until it is taken, so that none counts twice."""

    def __init__(
        self,
        relay: str,
        url: str,
        session: ClientSession,
        *,
        control_plane: ControlPlane,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """`relay` is the relay's id, `url` its `/samples`; what is older than now is left out."""
        self._relay = relay
        self._url = url
        self._session = session
        self._control_plane = control_plane
        self._wall = wall
        self._since = wall().timestamp()
        self._batch: SampleBatch | None = None

    async def run(self) -> NoReturn:
        """Until cancelled."""
        await keep_doing(self.tell, name="round trips", every_s=EVERY_S)

    async def tell(self) -> None:
        """What is new, or the batch that was not taken. Raises ControlPlaneError."""
        oldest = self._wall().timestamp() - OLDEST_S
        if self._batch is not None and self._batch.samples[0].at.timestamp() < oldest:
            self._batch = None
        if self._batch is None:
            self._batch = self._batch_of(await self._read(max(self._since, oldest)))
        if self._batch is not None:
            await self._control_plane.send_samples(self._batch)
            self._batch = None

    async def _read(self, since: float) -> list[dict[str, Any]]:
        """The relay's rows, the oldest first; none while it does not answer as agreed."""
        try:
            timeout = ClientTimeout(total=TIMEOUT_S)
            query = {"since": repr(since)}
            async with self._session.get(self._url, params=query, timeout=timeout) as response:
                response.raise_for_status()
                rows = (await response.json())["samples"]
            return list(rows)[-MOST_SAMPLES:]
        except (ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
            return []

    def _batch_of(self, rows: list[dict[str, Any]]) -> SampleBatch | None:
        """What there is to say of these; a row that makes no sense is left out."""
        samples = []
        for row in rows:
            with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
                self._since = max(self._since, row["at"])  # as it is: a datetime would round it
                when = datetime.fromtimestamp(row["at"], UTC)
                samples.append(Sample.model_validate({**row, "relay": self._relay, "at": when}))
        if not samples:
            return None
        return SampleBatch(batch=secrets.token_urlsafe(12), samples=tuple(samples))
