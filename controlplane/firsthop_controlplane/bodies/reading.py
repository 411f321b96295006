"""Reads the body of a request, within limits of size, time and memory."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from firsthop_controlplane.errors import Refused, Unavailable, malformed

BODY_TIMEOUT_S = 30
"""How long a body may take to arrive, in seconds: one that trickles in holds a handler."""
MEDIA_TYPES = ("application/json", "application/merge-patch+json")
MAX_HELD = 2**27
"""Bytes of all bodies that are being received."""


class BodyReader:
    """Receives bodies; refuses more when those under way fill `MAX_HELD` bytes."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: web.Request, limit: int) -> bytes:
        """A request's body, of at most `limit` bytes.

        Raises Refused (400, 408 if it is too slow, 413 if it is too large), or Unavailable.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    self._held += len(chunk)
                    body += chunk
                    self._check(len(body), limit)
        except TimeoutError:
            detail = f"The body did not arrive within {BODY_TIMEOUT_S} s."
            raise Refused(408, "too-slow", detail) from None
        except (web.RequestPayloadError, ClientError, HttpProcessingError, ValueError) as error:
            raise malformed(f"The body cannot be read: {type(error).__name__}.") from None
        finally:
            self._held -= len(body)
        return bytes(body)

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            detail = f"The body of this request may have at most {limit} bytes."
            raise Refused(413, "too-large", detail)
        if self._held > MAX_HELD:
            raise Unavailable("the bodies being received fill the memory set aside for them")


def check_media_type(request: web.Request) -> None:
    """Raises Refused (415) if the body is not JSON in UTF-8."""
    if request.content_type not in MEDIA_TYPES:
        raise Refused(415, "unsupported-media-type", "Send application/json.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(415, "unsupported-media-type", "Send UTF-8.")
