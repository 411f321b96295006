"""A real `firsthop edge` that follows a control plane, and a small plan for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.exception

from support.deployment import addresses, ask, free_port
from support.geodata import give_geodata
from support.waiting import DEADLINE_S

NAME, GERMANY = "relay.edge.example.", "91.0.0.0/24"
FRA, IAD = "127.0.10.1", "127.0.10.2"
DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "iad", "latitude": 39.04, "longitude": -77.49},
    ],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": FRA, "probe": {"slow_start_s": 0}},
        {"id": "iad-1", "region": "iad", "ipv4": IAD, "probe": {"slow_start_s": 0}},
    ],
    "zones": [
        {
            "apex": "edge.example.",
            "primary": "ns1.edge.example.",
            "contact": "hostmaster.edge.example.",
            "name_servers": ["ns1.edge.example."],
        }
    ],
    "services": [{"id": "relay", "name": NAME}],
}


class FedEdge:
    """One `firsthop edge` that follows a control plane, or would like to."""

    def __init__(self, folder: Path, *, api: str, token: str, key: Path) -> None:
        self.state = folder / "edge"
        give_geodata(self.state)
        self.log = folder / "edge.log"
        self.dns, self.metrics = free_port(), free_port()
        self.environment = {
            **os.environ,
            "FIRSTHOP_API_URL": api,
            "FIRSTHOP_TOKEN": token,
            "FIRSTHOP_SNAPSHOT_KEY": str(key),
            "FIRSTHOP_STATE_DIR": str(self.state),
            "FIRSTHOP_DNS_LISTEN": f"127.0.0.1:{self.dns}",
            "FIRSTHOP_DNS_WORKERS": "1",
            "FIRSTHOP_ALLOCATOR_LISTEN": "none",
            "FIRSTHOP_METRICS_LISTEN": f"127.0.0.1:{self.metrics}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def patched(self, code: str) -> str:
        """A PYTHONPATH by which every process of this edge first runs that code."""
        patches = self.state.parent / "patches"
        patches.mkdir(exist_ok=True)
        (patches / "sitecustomize.py").write_text(code)
        return os.pathsep.join(filter(None, (str(patches), os.environ.get("PYTHONPATH"))))

    @contextmanager
    def running(self, *before: str, **environment: str) -> Iterator[FedEdge]:
        """While the context is open; `before` is a command that becomes the edge."""
        with self.log.open("ab") as log:
            command = [*before, sys.executable, "-m", "firsthop", "edge"]
            environment = {**self.environment, **environment}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield self
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=DEADLINE_S) == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.process.wait()

    def said(self) -> Any:
        """What /readyz says; an empty answer while nobody is there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz") as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except OSError:
            return {}

    def ready(self) -> bool:
        """Whether every worker answers."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return bool(self.said().get("ready"))

    def answer(self, subnet: str = GERMANY) -> list[str]:
        """Where clients of a subnet are sent; nowhere while a worker is started."""
        try:
            return addresses(ask(self.dns, subnet, name=NAME))
        except dns.exception.Timeout:
            return []
