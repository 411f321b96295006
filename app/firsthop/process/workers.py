"""The supervisor's end of the pipe: starts and restarts worker processes, exchanges messages.

Every change is sent to a worker as a line of JSON (`{"table": …}`). The worker answers
`{"loaded": digest}` when it uses the change, and sends `{"counters": …}` every second. A worker
ends when its standard input ends, so none outlives its supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from firsthop.process.ending import end_process

RESTART_PAUSE_S = (0.05, 2.0)
STOP_GRACE_S = 6.0
"""More than DNS (2.5 s) and allocator (5 s) need to finish their requests."""
LINE_LIMIT = 2**24


class Worker:
    """One worker, kept running; each new process is first sent the newest value of every key.

    `files` are descriptors (listening sockets) that each of its processes inherits.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        files: Sequence[int],
        on_line: Callable[[Worker, dict[str, Any]], None],
    ) -> None:
        self.name = name
        self._files = files
        self._command = [sys.executable, "-m", "firsthop", *arguments]
        self._on_line = on_line
        self._state: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._outbox: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self.loaded = ""
        """Digest of the table in use; empty if there is none yet."""
        self.failure = ""
        """Why the worker could not use the newest values; empty if it could."""
        self.restarts = 0

    def send(self, news: dict[str, Any]) -> None:
        """Send changed values; if a key has an unsent value, only the newest is sent."""
        self._state.update(news)
        if self._outbox:
            self._outbox[-1].update(news)
        else:
            self._outbox.append(dict(news))
        self._wake.set()

    @property
    def pid(self) -> int | None:
        """The process id; None if the process does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep the worker running until cancelled; then stop its process."""
        pause = RESTART_PAUSE_S[0]
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._live()
            self.loaded = ""
            self.restarts += 1
            if asyncio.get_running_loop().time() - started > 10:
                pause = RESTART_PAUSE_S[0]
            _log().error("worker.died", worker=self.name, code=code, reason=self.failure)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_PAUSE_S[1])

    async def _live(self) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            pass_fds=self._files,
        )
        self._outbox.clear()
        if self._state:
            self._outbox.append(dict(self._state))
            self._wake.set()
        assert process.stdin is not None
        feeding = asyncio.create_task(self._feed(process))
        try:
            await self._listen(process)
            return await process.wait()
        finally:
            feeding.cancel()
            await end_process(process, process.stdin.close, grace_s=STOP_GRACE_S)

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._outbox:
                    process.stdin.write(json.dumps(self._outbox.popleft()).encode() + b"\n")
                    await process.stdin.drain()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            try:
                message = json.loads(line)
            except ValueError:
                _log().error("worker.bad_message", worker=self.name)
                continue
            self.loaded = message.get("loaded", self.loaded)
            self.failure = message.get("failure", self.failure)
            self._on_line(self, message)


def _log() -> Any:
    import structlog  # slow to import, and a relay starts its workers without it

    return structlog.get_logger(__name__)
