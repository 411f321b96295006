"""coturn without authentication: one allocation and one channel per flow."""

from __future__ import annotations

import secrets
import shutil
import socket
import struct
from pathlib import Path

from bench.peers.process import AbsentError, first_line, free_port, start
from bench.relays.flow import FAR, HOST, Flow, Peer

CHANNEL = 0x4000
PAYLOAD = 160
COOKIE = 0x2112A442
ALLOCATE, CHANNEL_BIND = 0x0003, 0x0009  # RFC 8656 §17
CHANNEL_NUMBER, XOR_PEER, XOR_RELAYED, REQUESTED_TRANSPORT = 0x000C, 0x0012, 0x0016, 0x0019


def start_peer(folder: Path, flows: int, cpu: int | None) -> Peer:
    """Starts it with one relay thread. Raises AbsentError."""
    program = shutil.which("turnserver")
    if program is None:
        raise AbsentError("no turnserver (Debian: coturn)")
    port = free_port()
    command = [
        program, "-c", "/dev/null", "--listening-ip", HOST, "--relay-ip", HOST,
        "--listening-port", str(port), "--no-auth", "--no-tls", "--no-dtls", "--no-cli",
        "--no-tcp", "--relay-threads", "1", "--allow-loopback-peers", "--log-file", "stdout",
        "--pidfile", folder / "pid", "--userdb", folder / "db", "--realm", "bench",
    ]  # fmt: skip
    version = first_line([program, "--version"]) or "coturn"
    server = start("coturn", command, version=version, port=port, folder=folder, cpu=cpu)
    return Peer(server, _connect)


def _connect(sock: socket.socket, _: socket.socket) -> Flow:
    """Allocates, and binds a channel to the far end, which also installs the permission."""
    answer = _ask(sock, ALLOCATE, [(REQUESTED_TRANSPORT, bytes((17, 0, 0, 0)))])
    host, port = _address(answer[XOR_RELAYED])
    family_and_port = struct.pack(">BBH", 0, 1, FAR[1] ^ COOKIE >> 16)
    masked = struct.unpack(">I", socket.inet_aton(FAR[0]))[0] ^ COOKIE
    peer = family_and_port + struct.pack(">I", masked)
    _ask(sock, CHANNEL_BIND, [(CHANNEL_NUMBER, struct.pack(">HH", CHANNEL, 0)), (XOR_PEER, peer)])
    return Flow(sock, struct.pack(">HH", CHANNEL, PAYLOAD), (host, port))


def _ask(sock: socket.socket, method: int, attributes: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """The attributes of the success response. Raises AssertionError for an error response."""
    body = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in attributes)
    sock.send(struct.pack(">HHI12s", method, len(body), COOKIE, secrets.token_bytes(12)) + body)
    answer = sock.recv(2048)
    assert int.from_bytes(answer[:2], "big") == method | 0x0100, answer
    found, at = {}, 20
    while at < len(answer):
        kind, size = struct.unpack_from(">HH", answer, at)
        found[kind] = answer[at + 4 : at + 4 + size]
        at += 4 + (size + 3 & ~3)
    return found


def _address(value: bytes) -> tuple[str, int]:
    port, host = struct.unpack(">HI", value[2:8])
    return socket.inet_ntoa(struct.pack(">I", host ^ COOKIE)), port ^ COOKIE >> 16
