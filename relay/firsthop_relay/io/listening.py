"""The addresses of a relay: one UDP socket for each worker at each, and TCP beside it.

The first socket of an address is bound alone, so nobody else's relay is joined unnoticed; further
ones share it by SO_REUSEPORT. The kernel then gives a client's packets always to the same socket,
as long as the set of sockets stays: so whoever starts the workers holds them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""The kernel's default of 208 KiB drops bursts; `net.core.rmem_max` bounds the unprivileged."""
BACKLOG: Final = 512
# Linux's numbers, which Python does not name.
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32


class ListenError(Exception):
    """An address that cannot be listened on; the message names it."""

    def __init__(self, transport: str, host: str, port: int, cause: OSError) -> None:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        super().__init__(f"cannot listen on {transport} {address}: {reason}")


def bind_udp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket for clients at an address; `shared` joins others at it. Raises ListenError."""
    sock = _unbound(host, socket.SOCK_DGRAM)
    for option, force in (
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE),
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE),
    ):
        sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)
        with contextlib.suppress(OSError):  # above the system's limit, where we may
            sock.setsockopt(socket.SOL_SOCKET, force, RECEIVE_BUFFER)
    return _bound(sock, host, port, shared=shared)


def bind_tcp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens. Raises ListenError."""
    sock = _unbound(host, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(sock, host, port, shared=shared)


def _unbound(host: str, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _bound(sock: socket.socket, host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        # Afterwards for the first: it must find the port free, and others of ours may join it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.type == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        transport = "TCP" if sock.type == socket.SOCK_STREAM else "UDP"
        sock.close()
        raise ListenError(transport, host, port, error) from error
    return sock
