"""Posts an edge's reports to the replica of the control plane that feeds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import structlog

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0
REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Posted:
    """The outcome of a POST."""

    error: str
    """Why it was not accepted; empty when it was."""
    refused: bool = False
    """The report is invalid, so it would not be accepted later either."""


class Poster:
    """Use it as an async context manager."""

    def __init__(self, token: str, url: Callable[[], str]) -> None:
        """`url` gives the control plane that is followed; empty while none is."""
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._errors: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: str) -> Posted:
        """Raises nothing; the first of several failures in a row goes to the log."""
        posted = await self._post(path, body)
        if posted.error and not self._errors.get(path):
            log.warning("report.failed", path=path, url=self._url(), reason=posted.error)
        self._errors[path] = posted.error
        return posted

    async def _post(self, path: str, body: str) -> Posted:
        if self._session is None:
            raise RuntimeError("Poster is used outside `async with`")
        url = self._url()
        if not url:
            return Posted("no control plane is followed")
        try:
            async with self._session.post(url.rstrip("/") + path, data=body) as response:
                if response.status < 300:
                    return Posted("")
                reason = (await response.content.read(REASON_LENGTH)).decode("utf-8", "replace")
                refused = response.status in (400, 413, 422)
                return Posted(f"answers {response.status}: {reason}", refused)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Posted(str(error) or type(error).__name__)
