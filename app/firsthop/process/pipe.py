"""The worker's end of the pipe to its supervisor: JSON lines on standard input and output.

Writing never blocks, so a stopped supervisor does not block its workers.
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
"""While more octets than this are unread, reports are skipped."""


class SupervisorPipe:
    """The pipe of one worker; open it inside the worker's event loop."""

    def __init__(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer

    @classmethod
    async def open(cls) -> SupervisorPipe:
        """Take over standard output; signals other than SIGTERM are left to the supervisor."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
        return cls(writer)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The supervisor's messages, until it ends or stops this worker.

        SIGTERM ends them too, so a worker finishes its answers even if all processes of a service
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
        """Send one line that must arrive."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    def report(self, **message: Any) -> bool:
        """Send one line, or skip it (returns False): the next report contains its content again."""
        if self._writer.get_write_buffer_size() >= UNREAD_LIMIT:
            return False
        self.send(**message)
        return True
