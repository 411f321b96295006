"""A worker's end of its supervisor: lines of JSON in on standard input, out on standard output.

Writing never waits: a supervisor that is stopped must not silence its workers.
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
"""With so many octets unread, reports are left out until the supervisor reads again."""


class SupervisorPipe:
    """Open it inside the worker's event loop."""

    def __init__(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer

    @classmethod
    async def open(cls) -> SupervisorPipe:
        """Takes over standard output; signals other than SIGTERM are the supervisor's business."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
        return cls(writer)

    async def news(self) -> AsyncIterator[dict[str, Any]]:
        """What the supervisor says, until it is gone or ends this worker.

        SIGTERM ends it too: whoever stops all processes of a service at once cuts no answer off.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        loop.add_signal_handler(signal.SIGTERM, incoming.close)
        while line := await reader.readline():
            yield json.loads(line)

    def say(self, **said: Any) -> None:
        """One line that has to arrive."""
        self._writer.write(json.dumps(said).encode() + b"\n")

    def report(self, **said: Any) -> bool:
        """One line that may be left out, because the next one says it all again; False if so."""
        if self._writer.get_write_buffer_size() >= UNREAD_LIMIT:
            return False
        self.say(**said)
        return True
