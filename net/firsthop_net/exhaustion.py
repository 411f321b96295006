"""Reports that a process has no file descriptors left: once a minute, not for every try.

asyncio stops accepting for a second and then tries again, so nothing else needs to be done; but it
logs a traceback for each place in the queue of a listening socket.
"""

from __future__ import annotations

import asyncio
import errno
import math
from typing import Any

QUIET_S = 60.0
"""Seconds after a report in which no other is logged."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ExhaustionReport:
    """A loop's exception handler; everything but exhaustion goes to asyncio's own."""

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
            loop.default_exception_handler(context)
        elif loop.time() - self._last >= QUIET_S:
            self._last = loop.time()
            self._log(error)

    def _log(self, error: OSError) -> None:
        import structlog  # imported here, because a relay starts without it

        reason = f"{error.strerror}: no connection is accepted until others end"
        structlog.get_logger(__name__).error("descriptors.exhausted", reason=reason)


def report_exhaustion_once() -> None:
    """Give the running loop this handler, unless it has one."""
    loop = asyncio.get_running_loop()
    if loop.get_exception_handler() is None:
        loop.set_exception_handler(ExhaustionReport())
