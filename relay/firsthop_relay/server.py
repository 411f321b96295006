"""The relay's UDP shell: sockets in a drain loop round the pure responder."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from firsthop_relay.counters import Counters
from firsthop_relay.responder import Drop, handle
from firsthop_steering.ufrag import RouteKeys

DRAIN = 64  # datagrams a wake-up, so that other sockets and timers get their turn
DATAGRAM = 2048  # above any path MTU that media uses; what is longer is cut and fails its checks
RECEIVE_BUFFER = 4 * 1024 * 1024  # the kernel's default drops bursts; see docs on rmem_max


class ListenError(Exception):
    """An address that cannot be listened on; the message names it."""

    def __init__(self, transport: str, host: str, port: int, cause: OSError) -> None:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        super().__init__(f"cannot listen on {transport} {place}: {reason}")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RelayServer:
    """UDP sockets that share one set of keys and one set of counters.

    `keys` may be replaced at any time; the next datagram is judged by the new ones.
    """

    def __init__(self, keys: RouteKeys, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self.keys = keys
        self.counters = Counters()
        self._clock = clock
        self._sockets: list[socket.socket] = []

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Bind `host` (an IPv4 or IPv6 address) and start to answer in the running loop.

        Gives the address and port bound (port 0 takes a free one). Raises ListenError.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise ListenError("UDP", host, port, error) from error
        asyncio.get_running_loop().add_reader(sock, self._drain, sock)
        self._sockets.append(sock)
        bound: tuple[str, int] = sock.getsockname()[:2]
        return bound

    def close(self) -> None:
        """Stop listening."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _drain(self, sock: socket.socket) -> None:
        now = self._clock()
        for _ in range(DRAIN):
            try:
                packet, source = sock.recvfrom(DATAGRAM)
            except OSError:  # empty, or the ICMP error of an earlier answer: wait for the next
                return
            self._serve(sock, packet, source, now)

    def _serve(
        self, sock: socket.socket, packet: bytes, source: tuple[str, int], now: datetime
    ) -> None:
        self.counters.received(packet)
        outcome = handle(packet, source, self.keys, now)
        if not isinstance(outcome, bytes):
            self.counters.drop(outcome)
            return
        try:
            sock.sendto(outcome, source)
        except OSError:
            self.counters.drop(Drop.SEND)
        else:
            self.counters.answered(outcome)
