"""One `firsthop edge` beside a deployment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from support.waiting import until


class LoneEdge:
    """An edge process of its own, until it is ready or has refused what it found."""

    def __init__(self, environment: dict[str, str], metrics: int, *, ready: bool) -> None:
        self._environment, self._metrics, self._ready = environment, metrics, ready

    def __enter__(self) -> Any:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "firsthop", "edge"], env=self._environment
        )
        try:
            return until(self._said, "the edge is up")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60) == 0

    def _said(self) -> Any:
        assert self._process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/readyz") as response:
                said = json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = json.loads(error.read())
        except OSError:
            return None
        return said if said["ready"] == self._ready and (said["ready"] or said["refused"]) else None
