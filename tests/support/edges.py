"""One place for an edge without a control plane, and the processes that hold it in turn."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import dns.exception

from support.deployment import addresses, ask, free_port
from support.geodata import give_geodata
from support.waiting import until

NAME, GERMANY = "relay.media.example.", "91.0.0.0/24"
EXAMPLE = Path(__file__).parents[2] / "docs/examples/edge.yaml"
DNS_WORKERS = 2


class Edges:
    """One place for an edge, and the processes that have held it."""

    def __init__(self, folder: Path, *, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        self.document = folder / "edge.yaml"
        self.document.write_text(EXAMPLE.read_text())
        # Longer than an address of unix(7) may be.
        self.state = folder / ("a-state-folder-with-a-long-name-" * 4)
        self.dns, self.allocator, self.metrics = free_port(), free_port(), free_port()
        self.environment = {
            **os.environ,
            "FIRSTHOP_CONFIG": str(self.document),
            "FIRSTHOP_STATE_DIR": str(self.state),
            "FIRSTHOP_DNS_LISTEN": ",".join(f"{host}:{self.dns}" for host in hosts),
            "FIRSTHOP_DNS_WORKERS": str(DNS_WORKERS),
            "FIRSTHOP_DNS_RATE_LIMIT": "0",
            "FIRSTHOP_ALLOCATOR_LISTEN": f"127.0.0.1:{self.allocator}",
            "FIRSTHOP_METRICS_LISTEN": f"127.0.0.1:{self.metrics}",
        }
        give_geodata(self.state)
        self.log = folder / "edges.log"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """One more process."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "firsthop", "edge", *arguments],
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def get(self, path: str, port: int | None = None) -> str:
        """What the edge in place says, or nothing."""
        url = f"http://127.0.0.1:{port or self.metrics}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    def wait_ready(self) -> None:
        """Until the edge in place says so."""
        until(lambda: '"ready": true' in self.get("/readyz"), "the edge is ready")

    def answer(self, subnet: str = GERMANY) -> list[str]:
        """Where a client is sent; nowhere while no worker answers."""
        try:
            return addresses(ask(self.dns, subnet, name=NAME))
        except (OSError, dns.exception.Timeout):
            return []

    def said(self, words: str) -> bool:
        """Whether any of them has logged this."""
        return words in self.log.read_text()
