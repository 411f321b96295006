"""Runs one asyncio service as a process that ends cleanly on signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress


def run_until_signal(service: Coroutine[None, None, None]) -> None:
    """Run `service` until it ends; on SIGTERM or SIGINT cancel it and return normally."""
    asyncio.run(_cancelled_by_signals(service))


async def _cancelled_by_signals(service: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
