"""Listening sockets of a DNS server: UDP and TCP at one address, one pair for each worker process.

The first pair of an address is bound alone, so nobody else's server is joined unnoticed; further
ones share it by SO_REUSEPORT. Whoever holds a socket keeps what is queued in it, also while no
process reads: sockets are bound here and read elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""At 1,024 outstanding queries the default of 208 KiB loses packets; this does not."""
BACKLOG: Final = 512
"""Connections of one listening socket that may wait to be accepted."""
_PORT_ATTEMPTS = 50

# Linux's numbers; Python names the first from 3.14 on.
IP_PKTINFO: Final[int] = getattr(socket, "IP_PKTINFO", 8)
_SO_RCVBUFFORCE = getattr(socket, "SO_RCVBUFFORCE", 33)


class Pair(NamedTuple):
    """What one worker reads at one address."""

    udp: socket.socket
    tcp: socket.socket

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the same for both."""
        host, port = self.udp.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Closes both in this process."""
        self.udp.close()
        self.tcp.close()


def bind(listen: Sequence[tuple[str, int]]) -> list[Pair]:
    """One pair for every address, or none and an OSError that names the one that cannot be had."""
    pairs: list[Pair] = []
    try:
        for host, port in listen:
            pairs.append(bind_pair(host, port))
    except OSError:
        for pair in pairs:
            pair.close()
        raise
    return pairs


def bind_pair(host: str, port: int) -> Pair:
    """The first pair of an address; port 0 takes any that both can have. Raises OSError."""
    for left in reversed(range(1 if port else _PORT_ATTEMPTS)):
        udp = bind_udp(host, port)
        try:
            return Pair(udp, bind_tcp(host, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            if error.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError("the last attempt returns or raises")


def join_pair(pair: Pair) -> Pair:
    """One more at the address of `pair`; the kernel spreads clients over all. Raises OSError."""
    host, port = pair.address
    udp = bind_udp(host, port, shared=True)
    try:
        return Pair(udp, bind_tcp(host, port, shared=True))
    except OSError:
        udp.close()
        raise


def bind_udp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket for `UdpShell`; raises OSError that names the address."""
    sock = _unbound(host, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with contextlib.suppress(OSError):  # above the system's limit, where we may
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    if not any(socket.inet_pton(sock.family, host)):
        # Before it is bound: a datagram remembers its destination from its arrival on.
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    return _bound(sock, host, port, shared=shared)


def bind_tcp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens; raises OSError that names the address."""
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
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        taken = error.errno == errno.EADDRINUSE
        why = "is in use by another process" if taken else os.strerror(error.errno or 0)
        raise OSError(error.errno, f"{transport} {address} {why}") from None
    return sock
