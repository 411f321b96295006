"""Sockets bound to an address, shared with SO_REUSEPORT: UDP with large buffers, listening TCP.

The first socket at an address is bound without sharing, which fails if another server has the
address; our further sockets share it. The kernel then delivers a client's packets always to the
same socket, as long as the set of sockets does not change. Queued packets stay in a socket while
any process holds it, even if none reads it: so sockets are bound in one process and read in others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final

BUFFER: Final = 4 * 1024 * 1024
"""Octets of the receive buffer and of the send buffer. The kernel's default of 208 KiB loses
packets of bursts; `net.core.rmem_max` and `wmem_max` limit unprivileged processes."""
BACKLOG: Final = 512
"""Connections of one listening socket that may wait to be accepted."""

# Linux's numbers, which Python names from 3.14 on, or not at all.
IP_PKTINFO: Final[int] = getattr(socket, "IP_PKTINFO", 8)
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32


class ListenError(OSError):
    """An address that cannot be listened on; the message names it."""

    def __init__(self, transport: str, host: str, port: int, cause: OSError) -> None:
        address = f"{transport} [{host}]:{port}" if ":" in host else f"{transport} {host}:{port}"
        if cause.errno == errno.EADDRINUSE:
            message = f"{address} is in use by another process"
        else:
            reason = os.strerror(cause.errno) if cause.errno else str(cause)
            message = f"cannot listen on {address}: {reason}"
        super().__init__(cause.errno, message)

    def __str__(self) -> str:
        return str(self.strerror)


def bind_udp(
    host: str, port: int, *, shared: bool = False, destinations: bool = False
) -> socket.socket:
    """A non-blocking socket; if `shared`, it joins others at the address. Raises ListenError.

    With `destinations` a socket at 0.0.0.0 or :: returns with each datagram the address that it was
    sent to (IP_PKTINFO, IPV6_PKTINFO).
    """
    sock = _unbound(host, socket.SOCK_DGRAM)
    for option, force in (
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE),
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE),
    ):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with contextlib.suppress(OSError):  # above the system's limit, if permitted
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER)
    if destinations and not any(socket.inet_pton(sock.family, host)):
        # Set before binding, so that the kernel records the destination of every datagram.
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    return _bound(sock, host, port, shared=shared)


def bind_tcp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening, non-blocking socket. Raises ListenError."""
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
        # The first socket sets it after binding, which needs a free port; others can then join it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.type == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        transport = "TCP" if sock.type == socket.SOCK_STREAM else "UDP"
        sock.close()
        raise ListenError(transport, host, port, error) from error
    return sock
