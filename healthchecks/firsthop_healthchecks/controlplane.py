"""The ingest API as probers, agents and transceivers call it, and loops that repeat a call."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import structlog
from pydantic import ValidationError

from firsthop_healthchecks.schedule import backoff_s
from firsthop_healthchecks.yielding import unhurried
from firsthop_net.api_session import ApiSession, ControlPlaneCallError, NotServed
from firsthop_net.replicas import Replicas
from firsthop_steering.feed.measurements import SampleBatch
from firsthop_steering.feed.reports import (
    ProbeReport,
    ProbeTarget,
    ProbeTargets,
    RelayReport,
    TransceiverReport,
)
from firsthop_steering.plan.model import Transceiver
from firsthop_steering.plan.registration import Registration
from firsthop_zones.model import Model

TIMEOUT_S = 3.0  # a half-open connection delays a failover by at most this

WAIT_S = 2.0  # how long a call waits for changed targets; well below the time-out
COALESCE_S = 0.05  # verdicts that change within this time are reported together

log = structlog.get_logger("firsthop.controlplane")


class ControlPlaneClient:
    """HTTP client of the ingest side of the admin API; use it as an async context manager.

    It uses one replica until that does not answer or cannot serve; the next call then goes to the
    next replica. All calls raise ControlPlaneCallError.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`urls` are roots of the replicas' APIs without `/v1`; `token` is a bearer token.

        `chance` returns a number in [0, 1), which selects the first replica.
        """
        self._replicas = Replicas(urls, chance=chance)
        self._session = ApiSession(token, timeout_s=timeout_s)
        self._tag = ""

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    async def probe_targets(self) -> ProbeTargets | None:
        """The targets of this prober, as soon as they differ from the last ones.

        None if they do not change within 2 s.
        """
        path = f"/v1/probes/targets?wait={WAIT_S:g}"
        content, tag = await self._call("GET", path, seen=self._tag)
        if content is None:
            return None
        targets = await read_targets(content)
        self._tag = tag
        return targets

    @property
    def waits(self) -> bool:
        """Whether the control plane answers when targets change, so polling needs no pause."""
        return bool(self._tag)

    async def send_probe_report(self, report: ProbeReport) -> None:
        """Replace the part of the same number of this prober's previous report.

        Defaults are left out: older control planes know no parts, and refuse unknown fields.
        """
        body = report.model_dump_json(exclude_defaults=True).encode()
        await self._call("POST", "/v1/probes/results", body)

    async def send_relay_report(self, relay: str, report: RelayReport) -> None:
        """Report on `relay`."""
        path = f"/v1/relays/{relay}/reports"
        await self._call("POST", path, report.model_dump_json().encode())

    async def register_transceiver(self, name: str, given: Registration) -> Transceiver:
        """Register transceiver `name`; returns its entry in the plan."""
        body = given.model_dump_json().encode()
        content, _ = await self._call("PUT", f"/v1/transceivers/{name}", body)
        try:
            return Transceiver.model_validate_json(content or b"", extra="ignore")
        except ValidationError as error:
            raise ControlPlaneCallError(f"unreadable answer: {error.errors()[0]['msg']}") from None

    async def send_transceiver_report(self, name: str, report: TransceiverReport) -> None:
        """Report on transceiver `name`."""
        path = f"/v1/transceivers/{name}/reports"
        await self._call("POST", path, report.model_dump_json().encode())

    async def send_samples(self, batch: SampleBatch) -> None:
        """Upload round trips of clients; repeating a batch is harmless.

        Raises CallRefused if the batch would never be accepted.
        """
        await self._call("POST", "/v1/measurements", batch.model_dump_json().encode())

    @property
    def url(self) -> str:
        """The replica that is called next."""
        return self._replicas.url

    async def _call(
        self, method: str, path: str, body: bytes | None = None, *, seen: str = ""
    ) -> tuple[bytes | None, str]:
        """The content and its ETag; None instead of the content if its ETag is `seen`."""
        url = self._replicas.url
        try:
            return await self._session.call(method, url + path, body, seen=seen)
        except NotServed:
            self._replicas.failed(url)
            raise


async def read_targets(body: bytes) -> ProbeTargets:
    """The targets in `body`, parsed in slices, between which checks go on.

    Fields that this release does not know are ignored. Parsing five thousand targets at once would
    delay everything else by 60 ms. Raises ControlPlaneCallError.
    """
    targets: list[ProbeTarget] = []
    at: tuple[str | int, ...] = ()
    try:
        whole = _Untyped.model_validate(json.loads(body), extra="ignore")
        async for each in unhurried(whole.targets):
            at = "targets", len(targets)
            targets.append(ProbeTarget.model_validate(each, extra="ignore"))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(map(str, at + fault["loc"]))
        raise ControlPlaneCallError(f"unreadable targets: {where}: {fault['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ControlPlaneCallError(f"unreadable targets: {error}") from None
    return ProbeTargets(targets=tuple(targets))


class _Untyped(Model):
    """`ProbeTargets` before its targets are parsed."""

    targets: tuple[dict[str, Any], ...]


async def keep_doing(
    exchange: Callable[[], Awaitable[None]],
    *,
    name: str,
    every_s: float,
    wake: asyncio.Event | None = None,
) -> NoReturn:
    """Do one `exchange` now, and again every `every_s`, or 50 ms after `wake` is set.

    After each ControlPlaneCallError in a row the pause is longer, with jitter, up to 5 s. The loss
    of the control plane is logged once, and its return once. Content that could not be sent is not
    kept: the next exchange sends the state at that time.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        started = loop.time()
        if wake is not None:
            wake.clear()
        try:
            await exchange()
        except ControlPlaneCallError as error:
            failures += 1
            if failures == 1:
                log.warning("controlplane.lost", exchange=name, reason=str(error))
            await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311
            continue
        if failures:
            log.info("controlplane.reconnected", exchange=name, failures=failures)
            failures = 0
        await _pause(started + every_s - loop.time(), wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(max(0.0, seconds)):  # wait_for may swallow a cancellation
            await wake.wait()
    except TimeoutError:
        return
    await asyncio.sleep(COALESCE_S)
