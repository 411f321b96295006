"""How a child process is ended: asked, and killed when it does not end in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


async def end_process(
    process: asyncio.subprocess.Process, *requests: Callable[[], object], grace_s: float
) -> None:
    """Makes each request in turn, waiting `grace_s` for the end after each; then kills.

    Returns when the process has ended.
    """
    for request in requests:
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            request()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
