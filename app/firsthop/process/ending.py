"""Ends a child process: first with requests; kills it if it does not end in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


async def end_process(
    process: asyncio.subprocess.Process, *requests: Callable[[], object], grace_s: float
) -> None:
    """Make one request after another, waiting `grace_s` for the end after each; then kill.

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
