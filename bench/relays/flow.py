"""One flow: a client's socket, its packet framing, and the address to which the far end answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.process import Server

HOST = "127.0.0.1"
FAR = ("127.0.20.1", 20_000)
"""Port of the far end of all flows."""
PATIENCE_S = 5.0
CLIENTS_PER_ADDRESS = 1000
FIRST_PORT = 20_000
"""Client ports, below the ephemeral ports, which the relays use."""


@dataclass(slots=True)
class Flow:
    """An open flow."""

    sock: socket.socket
    """Connected to the relay."""
    prefix: bytes
    """Prefix of each packet of the client: a TURN channel's header."""
    upstream: tuple[str, int]
    """The relay's address as seen by the far end."""


@dataclass(slots=True)
class Peer:
    """A started relay; `connect` opens a flow through it for a client's socket."""

    server: Server
    connect: Callable[[socket.socket, socket.socket], Flow]


def client(peer: int, number: int, port: int) -> socket.socket:
    """The socket of client `number` (from 0) of a peer, connected to the relay."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address, rest = divmod(number, CLIENTS_PER_ADDRESS)
    sock.bind((f"127.0.{41 + peer}.{1 + address}", FIRST_PORT + rest))
    sock.connect((HOST, port))
    sock.settimeout(PATIENCE_S)
    return sock


def far_end() -> socket.socket:
    """The socket of the far end of all flows."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(FAR)
    sock.settimeout(PATIENCE_S)
    return sock
