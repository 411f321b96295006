"""The lower bound: a forwarder in C, compiled from plain.c if there is a compiler."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from bench.peers.process import AbsentError, first_line, free_port, start
from bench.relays.flow import FAR, Flow, Peer

SOURCE = Path(__file__).with_name("plain.c")


def start_peer(folder: Path, flows: int, cpu: int | None) -> Peer:
    """Compiles and starts it. Raises AbsentError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise AbsentError("no C compiler (cc)")
    program = folder / "plain"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-o", program, SOURCE], check=True)
    port = free_port()
    server = start(
        "plain", [program, str(port), FAR[0], str(FAR[1])],
        version=f"({first_line([compiler, '--version'])})", port=port, folder=folder, cpu=cpu,
    )  # fmt: skip
    return Peer(server, _connect)


def _connect(sock: socket.socket, far: socket.socket) -> Flow:
    """Any first packet will do."""
    sock.send(b"open")
    _, upstream = far.recvfrom(2048)
    return Flow(sock, b"", upstream)
