"""The worker's end of the pipe to its supervisor: JSON lines on standard input and output.

Writing never waits: a supervisor that is stopped must not block its workers.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

LINE_LIMIT = 2**26
UNREAD_LIMIT = 2**16
"""With so many octets unread, reports are skipped until the supervisor reads again."""


class SupervisorPipe:
    """Open it inside the worker's event loop."""

    def __init__(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer

    @classmethod
    async def open(cls) -> SupervisorPipe:
        """Takes over standard output; signals other than SIGTERM are left to the supervisor."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
        return cls(writer)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The supervisor's messages, until it is gone or ends this worker.

        SIGTERM ends them too: a worker finishes its answers even when all processes of a service
        are stopped at once.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        loop.add_signal_handler(signal.SIGTERM, incoming.close)
        while line := await reader.readline():
            yield json.loads(line)

    def send(self, **message: Any) -> None:
        """Sends one line that must arrive."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    def report(self, **message: Any) -> bool:
        """Sends one line, or skips it (False): the next report contains it all again."""
        if self._writer.get_write_buffer_size() >= UNREAD_LIMIT:
            return False
        self.send(**message)
        return True
