"""docker-compose.yml without an engine: every service's command as a plain process.

Addresses of the compose network become loopback ones, mounted folders temporary ones; commands,
variables and the way they fit together are the file's own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import pytest
import yaml

from firsthop.postgres.server import EmbeddedPostgres
from support.deployment import addresses
from support.geodata import give_geodata
from support.waiting import DEADLINE_S, until

pytestmark = [pytest.mark.e2e, pytest.mark.database]

ROOT = Path(__file__).parents[3]
FIRSTHOP = (sys.executable, "-m", "firsthop")
TOKENS = re.compile(r"(\S+=(?:admin|edge|prober|allocator)(?::\S+)?)(?=\s)")


class Compose:
    """The file's services as processes under a folder and a loopback network of their own."""

    def __init__(self, folder: Path, network: str, database_url: str) -> None:
        self.file: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        self._folder, self._network, self._database_url = folder, network, database_url
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str, service: str) -> str:
        """A text of the file, as it must read on this machine."""
        text = re.sub(r"^postgresql://.*$", lambda _: self._database_url, text)
        text = text.replace("172.30.0.", self._network)
        text = text.replace("/var/lib/firsthop", str(self._folder / self._volume(service)))
        text = text.replace("/etc/firsthop/document.yaml", str(self._folder / "document.yaml"))
        for mounted in ("published", "run/secrets"):
            text = text.replace(f"/{mounted}", str(self._folder / mounted))
        return text

    def _volume(self, service: str) -> str:
        """What is mounted as the service's state; probers keep theirs in the container."""
        for mount in self.file["services"][service].get("volumes", ()):
            if mount.endswith(":/var/lib/firsthop"):
                return str(mount.partition(":")[0])
        return service

    def environment(self, service: str) -> dict[str, str]:
        variables = self.file["services"][service].get("environment", {})
        return {**os.environ, **{k: self.here(str(v), service) for k, v in variables.items()}}

    def command(self, service: str) -> list[str]:
        words = self.file["services"][service]["command"]
        return [*FIRSTHOP, *(self.here(word, service) for word in words)]

    def start(self, service: str) -> None:
        self.running[service] = subprocess.Popen(
            self.command(service), env=self.environment(service)
        )

    def healthy(self, service: str) -> bool:
        """The service's own health check."""
        _, _, *words = self.file["services"][service]["healthcheck"]["test"]
        check = [sys.executable, *(self.here(word, service) for word in words)]
        assert self.running[service].poll() is None
        return subprocess.run(check, capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for service, process in self.running.items():
            assert process.wait(timeout=DEADLINE_S) == 0, service


@pytest.fixture
def compose(tmp_path: Path, postgres: EmbeddedPostgres, database_url: str) -> Iterator[Compose]:
    network = f"127.{1 + os.getpid() % 60}.{os.getpid() // 60 % 250}."
    made = Compose(tmp_path, network, database_url)
    for edge in ("edge-a", "edge-b"):
        give_geodata(tmp_path / made._volume(edge))
    (tmp_path / "published").mkdir()
    document = (ROOT / "deploy/document.yaml").read_text().replace("172.30.0.", network)
    (tmp_path / "document.yaml").write_text(document)
    header = (ROOT / "docker-compose.yml").read_text().partition("\nx-firsthop")[0]
    subprocess.run(
        [*FIRSTHOP, "token", "bootstrap", str(tmp_path / "run/secrets"), *TOKENS.findall(header)],
        check=True,
        capture_output=True,
    )
    yield made
    made.stop()


def ask(server: str, kind: str = "A") -> list[str]:
    """The demo service's addresses, from a server of the compose network."""

    query = dns.message.make_query("relay.edge.example.", kind, use_edns=0)
    try:
        return addresses(dns.query.udp(query, server, port=5300, timeout=2))
    except (OSError, dns.exception.Timeout):
        return []


def test_every_service_runs_and_they_find_each_other(compose: Compose) -> None:
    """From the secrets that the header tells to make, to two edges that answer alike."""
    services = compose.file["services"]
    ours = [name for name, each in services.items() if each.get("image") == "firsthop"]
    assert {
        "controlplane",
        "controlplane-b",
        "edge-a",
        "edge-b",
        "prober-a",
        "prober-b",
        "prober-c",
    } <= {*ours}
    for secret in compose.file["secrets"].values():
        made = compose._folder / "run/secrets" / Path(secret["file"]).name
        assert made.stat().st_mode & 0o077 == 0
    compose.start("controlplane")
    until(lambda: compose.healthy("controlplane"), "the control plane is healthy", pause=1.0)
    compose.start("controlplane-b")
    until(lambda: compose.healthy("controlplane-b"), "so is the other one", pause=1.0)
    subprocess.run(
        compose.command("apply"), env=compose.environment("apply"), check=True, capture_output=True
    )
    for service in ours:
        if service not in ("controlplane", "controlplane-b", "apply"):
            compose.start(service)
    relays = [f"{compose._network}11", f"{compose._network}12"]
    for edge in ("4", "5"):
        until(lambda edge=edge: ask(compose._network + edge), f"edge {edge} answers")
        assert ask(compose._network + edge)[0] in relays
        url = f"http://{compose._network}{edge}:9153/metrics"
        until(lambda url=url: _all_up(url), "the probers' verdicts arrive")
    assert ask(compose._network + "4") == ask(compose._network + "5")
    assert all(process.poll() is None for process in compose.running.values())


def _all_up(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    return len(re.findall(r"^firsthop_verdict\{.*\} 1\.0$", text, re.MULTILINE)) == 2
