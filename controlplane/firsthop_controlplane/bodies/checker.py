"""From the bytes of a body to its model, without holding the event loop for long.

A body of a few kilobytes is handled at once. Larger ones take turns, so that other requests are
served in between; a whole document is parsed and validated in a child process of bounded memory,
because `json` and pydantic hold the interpreter's lock all the while.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog
from pydantic import BaseModel

from firsthop_controlplane.bodies.child import OUT_OF_MEMORY
from firsthop_controlplane.bodies.json_text import check_size, parse_object
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.errors import ControlPlaneError, Refused, Unavailable

log = structlog.get_logger(__name__)

SMALL = 2**12
"""Bytes of a body that is handled without waiting for a turn."""
PAUSE_S = 0.002
"""Seconds between two pieces of such work, in which the event loop serves whoever waits."""
MAX_INLINE = 2**16
"""Bytes of a document that is handled in the serving process."""
CHECK_TIMEOUT_S = 60.0
"""Seconds after which the check of a document is given up."""
MAX_WAITING = 8
"""Documents that may wait for their check."""
CHILD = (sys.executable, "-m", "firsthop_controlplane.bodies.child")

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class BodyChecker:
    """Parses and validates bodies, at most one larger one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._child = asyncio.Lock()
        self._waiting = 0

    async def json_object(self, raw: bytes) -> dict[str, Any]:
        """The JSON object in `raw`. Raises Refused (400, 413)."""
        check_size(raw)
        if len(raw) <= SMALL:
            return parse_object(raw)
        return await self._in_turn(lambda: parse_object(raw))

    async def model(self, model: type[M], raw: bytes, *, is_document: bool) -> M:
        """The model in `raw`. Raises Refused (400, 413, 422), or Unavailable."""
        if is_document and len(raw) > MAX_INLINE:
            return await self._in_child(model, raw)
        check_size(raw)
        if len(raw) <= SMALL:
            return validated(model, parse_object(raw))
        value = await self._in_turn(lambda: parse_object(raw))
        return await self._in_turn(lambda: validated(model, value))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """The result of `work`: one piece at a time, and other requests are served after each."""
        async with self._turn:
            try:
                return work()
            finally:
                await asyncio.sleep(PAUSE_S)

    async def _in_child(self, model: type[M], raw: bytes) -> M:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("other documents are being checked")
        self._waiting += 1
        try:
            async with self._child:
                found = await _checked_in_child(model, raw)
        finally:
            self._waiting -= 1
        if isinstance(found, Refused):
            raise found
        return cast("M", found)


async def _checked_in_child(model: type[BaseModel], raw: bytes) -> object:
    """The model or the refusal that a child process finds."""
    child = await asyncio.create_subprocess_exec(
        *CHILD,
        f"{model.__module__}:{model.__qualname__}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found, _ = await child.communicate(raw)
    except TimeoutError:
        detail = f"The document could not be checked within {CHECK_TIMEOUT_S:g} s."
        return Refused(413, "too-large", detail)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    status = child.returncode
    assert status is not None
    if status == OUT_OF_MEMORY or status < 0:  # the kernel may have killed it
        log.warning("document_check.killed", exit_status=status, bytes=len(raw))
        return Refused(413, "too-large", "The document needs too much memory to be checked.")
    if status != 0:
        raise ControlPlaneError(f"the check of a document ended with status {status}")
    return await asyncio.to_thread(pickle.loads, found)
