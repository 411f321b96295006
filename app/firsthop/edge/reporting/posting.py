"""Posts an edge's reports to the replica of the control plane that feeds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from firsthop_net.api_session import ApiSession, CallRefused, ControlPlaneCallError

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Posted:
    """The outcome of a POST."""

    error: str
    """Why the report was not accepted; empty if it was."""
    refused: bool = False
    """Whether the report is invalid, so that it would not be accepted later either."""


class Poster:
    """Posts reports with one HTTP session; use it as an async context manager."""

    def __init__(self, token: str, url: Callable[[], str]) -> None:
        """`url` returns the URL of the control plane that is followed; empty if there is none."""
        self._session = ApiSession(token, timeout_s=TIMEOUT_S)
        self._url = url
        self._errors: dict[str, str] = {}

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

    async def post(self, path: str, body: str) -> Posted:
        """Post a report; never raises. Logs the first of several failures in a row."""
        posted = await self._post(path, body)
        if posted.error and not self._errors.get(path):
            log.warning("report.failed", path=path, url=self._url(), reason=posted.error)
        self._errors[path] = posted.error
        return posted

    async def _post(self, path: str, body: str) -> Posted:
        url = self._url()
        if not url:
            return Posted("no control plane is followed")
        try:
            await self._session.call("POST", url.rstrip("/") + path, body.encode())
        except ControlPlaneCallError as error:
            return Posted(str(error), isinstance(error, CallRefused))
        return Posted("")
