"""A whole deployment under test: `firsthop up` with ports and loopback networks of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rdatatype
import psutil

from support.waiting import until

SERVICE = "relay.edge.example."


LISTENED = range(20_000, 32_768)
"""Ports that Linux gives to no outgoing connection: another test may open a thousand of these
before the process that this one starts has bound its port."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that neither UDP nor TCP uses just now."""
    while True:
        port = secrets.choice(LISTENED)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((host, port))
                udp.bind((host, port))
            except OSError:
                continue
            return port


def ask(
    port: int,
    subnet: str | None = None,
    *,
    name: str = SERVICE,
    kind: str = "A",
    tcp: bool = False,
) -> dns.message.Message:
    """One query to 127.0.0.1, with a client subnet if one is given."""
    options = [dns.edns.ECSOption.from_text(subnet)] if subnet else []
    query = dns.message.make_query(name, kind, use_edns=0, options=options)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, "127.0.0.1", port=port, timeout=30)


def addresses(message: dns.message.Message) -> list[str]:
    """The A and AAAA addresses of the answer section."""
    return [
        rdata.address
        for rrset in message.answer
        for rdata in rrset
        if rdata.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
    ]


def scope(message: dns.message.Message) -> int | None:
    """The ECS scope prefix length of an answer."""
    for option in message.options:
        if isinstance(option, dns.edns.ECSOption):
            return int(option.scopelen)
    return None


class Deployment:
    """`firsthop up` in a folder of its own; `network` is the second and third octet of 127/8."""

    def __init__(self, state: Path, network: int) -> None:
        self.state = state
        self.dns = free_port()
        self.allocator = free_port()
        self.controlplane = free_port()
        self.metrics = free_port()
        self.relays = f"127.{network}.1"
        self.environment = {
            **os.environ,
            "FIRSTHOP_STATE_DIR": str(state),
            "FIRSTHOP_DNS_LISTEN": f"127.0.0.1:{self.dns}",
            "FIRSTHOP_ALLOCATOR_LISTEN": f"127.0.0.1:{self.allocator}",
            "FIRSTHOP_CONTROLPLANE_LISTEN": f"127.0.0.1:{self.controlplane}",
            "FIRSTHOP_METRICS_LISTEN": f"127.0.0.1:{self.metrics}",
            "FIRSTHOP_RELAY_NETWORK": f"{self.relays}.0/24",
            "FIRSTHOP_TRANSCEIVER_NETWORK": f"127.{network}.2.0/24",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.output = state.with_suffix(".log")

    def start(self) -> None:
        """Starts `up` and waits for its banner."""
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "firsthop", "up"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def up() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.output.read_text()
            return "Firsthop is up." in self.output.read_text()

        until(up, "the banner", within=180)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise

    def find(self, *words: str) -> psutil.Process:
        """The one descendant whose command line holds all these words in a row."""
        assert self.process is not None
        wanted = list(words)
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = child.cmdline()
            except psutil.Error:
                continue
            if any(line[i : i + len(wanted)] == wanted for i in range(len(line))):
                found.append(child)
        assert found, f"no child process has {words}"
        return found[0]

    def ask(self, subnet: str | None = None, **options: Any) -> dns.message.Message:
        """A query to this deployment's edge."""
        return ask(self.dns, subnet, **options)

    def region(self, subnet: str, **options: Any) -> str:
        """The demo region whose relay answers a client."""
        found = addresses(self.ask(subnet, **options))
        return REGION_OF_HOST[int(found[0].rpartition(".")[2])] if found else ""

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        port: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """An HTTP call to the control plane (or another port) as admin: status, JSON, headers."""
        secret = token or (self.state / "admin.token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port or self.controlplane}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {secret}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read()
                return response.status, json.loads(text or b"null"), dict(response.headers)
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text or b"null"), dict(error.headers)

    def patch(self, path: str, **fields: Any) -> Any:
        """A PATCH with the object's current ETag."""
        _, _, headers = self.call("GET", path)
        status, body, _ = self.call("PATCH", path, fields, headers={"If-Match": headers["ETag"]})
        assert status == 200, body
        return body

    def machine_token(self, name: str) -> str:
        """The secret of one machine token."""
        tokens = json.loads((self.state / "machine.tokens").read_text())
        return next(str(each["secret"]) for each in tokens if each["name"] == name)

    def allocate(self, client: str) -> Any:
        """An allocation for a client."""
        status, body, _ = self.call(
            "POST",
            "/v1/allocations",
            {"client_ip": client},
            token=self.machine_token("signalling"),
            port=self.allocator,
        )
        assert status == 201, body
        return body


REGION_OF_HOST = dict(enumerate(["iad", "sjc", "gru", "fra", "jnb", "bom", "sin", "syd"], start=1))
