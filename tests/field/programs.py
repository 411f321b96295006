"""Processes at places: started, killed, stopped, started again; their log is a file of lines."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from field.namespaces import Place
from firsthop.postgres.server import EmbeddedPostgres

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Program:
    """`firsthop ARGUMENTS` at a place. Start it from the main thread: it dies with that."""

    def __init__(
        self, name: str, place: Place, arguments: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name, self.place, self.log = name, place, log
        self._command = [sys.executable, "-m", "firsthop", *arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FIRSTHOP_")}
        self._environment = inherited | environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or stands stopped."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it unless it lives."""
        if self.alive:
            return
        with self.place.entered(), self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=120)

    def child(self, *words: str) -> psutil.Process | None:
        """The first child process whose command line has all these words."""
        with suppress(psutil.Error):
            for each in psutil.Process(self.pid).children():
                with suppress(psutil.Error):
                    if set(words) <= set(each.cmdline()):
                        return each
        return None

    def said(self, event: str, since: float = 0.0) -> Iterator[dict[str, Any]]:
        """Its log lines of this event from `since` (seconds since 1970) on, with `at` beside."""
        for line in self.log.read_text(errors="replace").splitlines():
            if event in line and line.startswith("{"):
                with suppress(ValueError):
                    told = json.loads(line)
                    at = datetime.fromisoformat(told["timestamp"]).timestamp()
                    if told.get("event") == event and at >= since:
                        yield told | {"at": at}


class Database:
    """A PostgreSQL that listens at a place, kept by a thread that stands there."""

    name = "database"

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        trusted = folder / "trusted.conf"
        trusted.write_text("local all all trust\nhost all all 0.0.0.0/0 trust\n")
        self._server = EmbeddedPostgres(
            folder,
            settings={
                "listen_addresses": place.address,
                "hba_file": str(trusted),
                "fsync": "off",
                "synchronous_commit": "off",
            },
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._stand, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a control plane at another place takes."""
        return f"postgresql://firsthop@{self.place.address}:5432/firsthop"

    @property
    def alive(self) -> bool:
        """Whether it runs, or stands stopped."""
        return self._server.pid is not None

    def start(self) -> None:
        """Start it unless it lives; returns when it answers."""
        if not self.alive:
            self._wait(self._server.stop())
            self._wait(self._server.start())

    def send(self, number: signal.Signals) -> None:
        """Signal the server's first process."""
        if self._server.pid is not None:
            os.kill(self._server.pid, number)

    def kill(self) -> None:
        """`kill -9` of its first process; the others notice and end."""
        self.send(signal.SIGKILL)
        self._wait(self._server.died())

    def close(self) -> None:
        """Stop it for good."""
        self._wait(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def _stand(self) -> None:
        with self.place.entered():
            self._loop.run_forever()

    def _wait(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=180)


def _die_with_parent() -> None:
    """In the child, before exec: a crashed test leaves nobody behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
