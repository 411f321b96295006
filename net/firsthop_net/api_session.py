"""One HTTP call to a control plane: bearer token, time-out, and what a failure means."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiohttp import ClientError, ClientSession, ClientTimeout

REASON_LENGTH = 200
"""Octets of a refusal's body that the error message contains."""
_REFUSALS = (400, 413, 422)


class ControlPlaneCallError(Exception):
    """The control plane did not answer, or not as expected; the message says which."""


class CallRefused(ControlPlaneCallError):  # noqa: N818 - the base class names the error
    """The content that was sent is invalid, so a repetition would be refused too."""


class NotKnownError(ControlPlaneCallError):
    """The control plane does not know the object that the call is about."""


class NotServed(ControlPlaneCallError):  # noqa: N818 - the base class names the error
    """This replica cannot serve the call; another may."""


class ApiSession:
    """Connections to any replica with one token; use it as an async context manager."""

    def __init__(self, token: str, *, timeout_s: float) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = ClientTimeout(total=timeout_s)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, url: str, body: bytes | None = None, *, seen: str = ""
    ) -> tuple[bytes | None, str]:
        """The content and its ETag; None instead of the content if its ETag is `seen`.

        Raises ControlPlaneCallError.
        """
        if self._session is None:
            raise RuntimeError("ApiSession is used outside `async with`")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if seen:
            headers["If-None-Match"] = seen
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = 200 <= response.status < 300
                content = await (response.read() if taken else response.content.read(REASON_LENGTH))
        except TimeoutError:
            raise NotServed(f"no answer in {self._timeout.total:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            raise NotServed(str(error) or type(error).__name__) from None
        if seen and response.status == 304:
            return None, seen
        if not taken:
            raise _failure(response.status, content)
        return content, response.headers.get("ETag", "")


def _failure(status: int, content: bytes) -> ControlPlaneCallError:
    message = f"status {status}: {content.decode('utf-8', 'replace')}"
    if status >= 500:
        return NotServed(message)
    if status == 404:
        return NotKnownError(message)
    return CallRefused(message) if status in _REFUSALS else ControlPlaneCallError(message)
