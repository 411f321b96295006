"""One flow of a load: a client's socket, how it frames a packet, and where the far end answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.process import Server

HOST = "127.0.0.1"
FAR = ("127.0.20.1", 20_000)
"""All flows lead here."""
PATIENCE_S = 5.0
CLIENTS_PER_ADDRESS = 1000
FIRST_PORT = 20_000
"""Below the ephemeral ports, which are left to the relays."""


@dataclass(slots=True)
class Flow:
    """Ready to be used."""

    sock: socket.socket
    """Connected to the relay."""
    prefix: bytes
    """What the client writes before each packet: a TURN channel's header."""
    upstream: tuple[str, int]
    """Of the relay's other leg, as the far end sees it."""


@dataclass(slots=True)
class Peer:
    """A started relay; `connect` opens a flow through it for a client's socket."""

    server: Server
    connect: Callable[[socket.socket, socket.socket], Flow]


def client(peer: int, number: int, port: int) -> socket.socket:
    """The socket of client `number` (from 0) of a peer, connected to its relay's port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address, rest = divmod(number, CLIENTS_PER_ADDRESS)
    sock.bind((f"127.0.{41 + peer}.{1 + address}", FIRST_PORT + rest))
    sock.connect((HOST, port))
    sock.settimeout(PATIENCE_S)
    return sock


def far_end() -> socket.socket:
    """The one socket where all flows end."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(FAR)
    sock.settimeout(PATIENCE_S)
    return sock
