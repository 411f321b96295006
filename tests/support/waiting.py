"""How tests wait: for a condition, with a deadline that a slow machine does not reach.

A deadline only tells a failure from a wait, so it is generous; nothing waits that long when all
is well.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_S = 120.0
PAUSE_S = 0.02


def until(
    condition: Callable[[], Any],
    what: str,
    *,
    within: float = DEADLINE_S,
    pause: float = PAUSE_S,
) -> Any:
    """The first true value of `condition`; fails with `what` when the deadline passes.

    `pause` is for a condition that is dear to ask, such as one that starts a process.
    """
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(pause)
    return found


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]],
    what: str,
    *,
    within: float = DEADLINE_S,
    pause: float = PAUSE_S,
) -> Any:
    """`until`, for an event loop: meanwhile it goes on. The condition may be a coroutine."""
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(pause)
