"""Child processes of `firsthop up`, each with a log file; restarted if they die."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from firsthop.process.ending import end_process

STOP_GRACE_S = 5.0
STEADY_S = 10.0
"""A child that ran for this long is restarted without a growing pause."""


class Child:
    """`python -m firsthop ARGUMENTS`, kept running until `stop`.

    It has its own session, so that Ctrl-C reaches only the parent, and it ends with the parent.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_dir: Path,
        environment: Mapping[str, str],
        restart_after_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._log_path = log_dir / f"{name}.log"
        self._environment = {
            **os.environ,
            **environment,
            "FIRSTHOP_END_WITH_PARENT": str(os.getpid()),
        }
        self.restart_after_s = restart_after_s
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._started = 0.0
        self.exits = 0
        """How often it has ended since it last ran for STEADY_S."""

    @property
    def pid(self) -> int | None:
        """The process id; None if the process does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    async def start(self) -> None:
        """Start the process, and restart it whenever it ends."""
        await self._spawn()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL after a grace period."""
        self._stopping = True
        if self._process is not None:
            await end_process(self._process, self._process.terminate, grace_s=STOP_GRACE_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def kill(self) -> int | None:
        """Kill the process, which is restarted as after a crash; returns its pid if it ran."""
        pid = self.pid
        if pid is not None and self._process is not None:
            self._process.kill()
        return pid

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log file."""
        try:
            text = self._log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    async def _spawn(self) -> None:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._started = asyncio.get_running_loop().time()
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "firsthop",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    async def _keep(self) -> None:
        while not self._stopping:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            if asyncio.get_running_loop().time() - self._started > STEADY_S:
                self.exits = 0
            self.exits += 1
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            pause = max(self.restart_after_s, 0.1 * 2 ** min(self.exits, 6))
            self._say(f"{self.name} ended {how}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            await self._spawn_again()

    async def _spawn_again(self) -> None:
        """Retry until the process starts: the cause of a failure (such as a full disk) may pass."""
        while not self._stopping:
            try:
                await self._spawn()
            except OSError as error:
                self._say(f"{self.name} cannot be started: {error}")
                await asyncio.sleep(STOP_GRACE_S)
            else:
                self._say(f"{self.name} is running again (pid {self.pid})")
                return
