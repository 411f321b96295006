"""A worker's end of its supervisor: lines of JSON in on standard input, out on standard output."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

LINE_LIMIT = 2**26


async def news() -> AsyncIterator[dict[str, Any]]:
    """What the supervisor says, until it is gone or ends this worker."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)  # the supervisor's business
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def say(**said: Any) -> None:
    """One line to the supervisor."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
