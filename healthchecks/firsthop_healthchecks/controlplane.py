"""The control plane as probers, agents and transceivers see it: a few calls, and patience."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import ValidationError

from firsthop_healthchecks.schedule import backoff_s
from firsthop_healthchecks.yielding import unhurried
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

TIMEOUT_S = 3.0  # a half-open connection may not cost a failover more than this
WAIT_S = 2.0  # for targets to change; well below the time-out
COALESCE_S = 0.05  # what turns together is said together
FAULT_LENGTH = 200

log = structlog.get_logger("firsthop.controlplane")


class ControlPlaneCallError(Exception):
    """It did not answer, or did not answer as agreed; the message says which."""


class CallRefused(ControlPlaneCallError):  # noqa: N818 - the caller hears the error above
    """What was sent is wrong, so it would not be taken later either."""


class NotKnownError(ControlPlaneCallError):
    """It does not know whom this is about."""


class _NotServed(ControlPlaneCallError):  # noqa: N818 - the caller hears the error above
    """This replica cannot serve the call; another may."""


class ControlPlaneClient:
    """HTTP client of the ingest side of the admin API; use it as an async context manager.

    Stays with one replica until that does not answer or cannot serve; the next call goes to the
    next one.
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

        `chance` gives a number in [0, 1): which replica is the first.
        """
        self._urls = [url.rstrip("/") for url in urls]
        self._at = int(chance() * len(self._urls))
        self._token = token
        self._timeout = ClientTimeout(total=timeout_s)
        self._tag = ""
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"}
        self._session = ClientSession(headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def probe_targets(self) -> ProbeTargets | None:
        """What this prober is to check, as soon as it is something else than last time.

        None when it is not within 2 s. Raises ControlPlaneError.
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
        """Whether the control plane answers when targets change: it need not be asked in turns."""
        return bool(self._tag)

    async def send_probe_report(self, report: ProbeReport) -> None:
        """Replace what this prober said before. Raises ControlPlaneError."""
        await self._call("POST", "/v1/probes/results", report.model_dump_json().encode())

    async def send_relay_report(self, relay: str, report: RelayReport) -> None:
        """Say how `relay` is doing. Raises ControlPlaneError."""
        path = f"/v1/relays/{relay}/reports"
        await self._call("POST", path, report.model_dump_json().encode())

    async def register_transceiver(self, name: str, given: Registration) -> Transceiver:
        """Say where it is; what the plan then has of it. Raises ControlPlaneError."""
        body = given.model_dump_json().encode()
        content, _ = await self._call("PUT", f"/v1/transceivers/{name}", body)
        try:
            return Transceiver.model_validate_json(content or b"", extra="ignore")
        except ValidationError as error:
            raise ControlPlaneCallError(f"unreadable answer: {error.errors()[0]['msg']}") from None

    async def send_transceiver_report(self, name: str, report: TransceiverReport) -> None:
        """Say how transceiver `name` is doing. Raises ControlPlaneError."""
        path = f"/v1/transceivers/{name}/reports"
        await self._call("POST", path, report.model_dump_json().encode())

    async def send_samples(self, batch: SampleBatch) -> None:
        """Bring round trips of clients; again is harmless. Raises ControlPlaneError.

        That is Refused when it would never be taken.
        """
        await self._call("POST", "/v1/measurements", batch.model_dump_json().encode())

    @property
    def url(self) -> str:
        """The replica that is asked next."""
        return self._urls[self._at]

    async def _call(
        self, method: str, path: str, body: bytes | None = None, *, seen: str = ""
    ) -> tuple[bytes | None, str]:
        """The content and its tag; None instead of a content whose tag was `seen`."""
        url = self.url
        try:
            return await self._call_one(url, method, path, body, seen)
        except _NotServed as error:
            if url == self.url:  # two calls that fail at once move on by one
                self._at = (self._at + 1) % len(self._urls)
            raise ControlPlaneCallError(str(error)) from None

    async def _call_one(
        self, url: str, method: str, path: str, body: bytes | None, seen: str
    ) -> tuple[bytes | None, str]:
        if self._session is None:
            raise RuntimeError("ControlPlane is used outside `async with`")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if seen:
            headers["If-None-Match"] = seen
        try:
            async with self._session.request(
                method, url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
        except TimeoutError:
            raise _NotServed(f"no answer in {self._timeout.total:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            raise _NotServed(str(error) or type(error).__name__) from None
        if response.status >= 500:
            raise _NotServed(f"status {response.status}: {_said(content)}")
        if seen and response.status == 304:
            return None, seen
        if response.status == 404:
            raise NotKnownError(f"status 404: {_said(content)}")
        if not 200 <= response.status < 300:
            kind = CallRefused if response.status in (400, 413, 422) else ControlPlaneCallError
            raise kind(f"status {response.status}: {_said(content)}")
        return content, response.headers.get("ETag", "")


def _said(content: bytes) -> str:
    return content[:FAULT_LENGTH].decode("utf-8", "replace")


async def read_targets(body: bytes) -> ProbeTargets:
    """The targets in `body`, read in slices between which checks go on. Raises ControlPlaneError.

    Fields that this release does not know are ignored. Five thousand targets at once would hold
    up everything for 60 ms.
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
    """`ProbeTargets` before its targets are read."""

    targets: tuple[dict[str, Any], ...]


async def keep_doing(
    exchange: Callable[[], Awaitable[None]],
    *,
    name: str,
    every_s: float,
    wake: asyncio.Event | None = None,
) -> NoReturn:
    """Do one `exchange` now, and again every `every_s`, or 50 ms after `wake` is set.

    After a ControlPlaneError it waits longer each time, with jitter, up to 5 s, and says once that
    the control plane is lost and once that it is back. Keeps nothing of what could not be said:
    the next exchange says what is true then.
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
