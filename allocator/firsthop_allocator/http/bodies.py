"""Reads request bodies, with limits on time and size."""

from __future__ import annotations

import asyncio

from aiohttp import web

from firsthop_allocator.errors import Problem, RequestFault, unreadable, wrong
from firsthop_allocator.settings import BODY_TIMEOUT_S, MAX_BODY


async def read_octets(request: web.Request, limit: int = MAX_BODY) -> bytes:
    """The whole body. Raises Problem 400, 408, 413 or 415."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise wrong(415, RequestFault("Content-Encoding", "must not be used"))
    if (request.content_length or 0) > limit:
        raise Problem(413, f"the body is longer than {limit} octets")
    try:
        if request.content.is_eof():  # it arrived with the head, as most do
            body = await request.read()
        else:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()
    except ConnectionError:
        raise unreadable("the caller has disconnected") from None
    except TimeoutError:
        raise Problem(408, f"the body did not arrive within {BODY_TIMEOUT_S} s") from None
    if len(body) > limit:  # without a Content-Length
        raise Problem(413, f"the body is longer than {limit} octets")
    return body
