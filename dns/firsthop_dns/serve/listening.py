"""Listening sockets of a DNS server: UDP and TCP at one address, one pair for each worker process.

They are bound in one process and read in others (see `firsthop_net.listening`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import NamedTuple

from firsthop_net.listening import ListenError, bind_tcp, bind_udp

_PORT_ATTEMPTS = 50


class Pair(NamedTuple):
    """The sockets that one worker reads at one address."""

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
    """One pair for every address. Raises ListenError if one is not available; then binds none."""
    pairs: list[Pair] = []
    try:
        for host, port in listen:
            pairs.append(bind_pair(host, port))
    except ListenError:
        for pair in pairs:
            pair.close()
        raise
    return pairs


def bind_pair(host: str, port: int) -> Pair:
    """The first pair of an address; port 0: any port free for both. Raises ListenError."""
    for left in reversed(range(1 if port else _PORT_ATTEMPTS)):
        udp = bind_udp(host, port, destinations=True)
        try:
            return Pair(udp, bind_tcp(host, udp.getsockname()[1]))
        except ListenError as error:
            udp.close()
            if error.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError("the last attempt returns or raises")


def join_pair(pair: Pair) -> Pair:
    """Another pair at the address of `pair`, which shares its clients. Raises ListenError."""
    host, port = pair.address
    udp = bind_udp(host, port, shared=True, destinations=True)
    try:
        return Pair(udp, bind_tcp(host, port, shared=True))
    except ListenError:
        udp.close()
        raise
