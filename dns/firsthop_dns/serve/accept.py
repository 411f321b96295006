"""Accepts TCP connections; while there is no room for one, those in the backlog wait.

asyncio's own server would set a backlog of 100, and would log every failure with a traceback.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from firsthop_dns.answer.client_keys import PeerAddress
from firsthop_dns.serve.tcp import TcpConnection, TcpConnections

RECEIVE_KERNEL: Final = 64 * 1024
SEND_KERNEL: Final = 256 * 1024
"""Kernel buffers of one connection; the kernel's own limits are megabytes."""
ACCEPT_BATCH: Final = 64
"""Connections accepted before other work runs."""
ACCEPT_PAUSE_S: Final = 0.1
"""Seconds to wait for room: retrying at once would be a busy loop until a connection is closed."""
ACCEPT_FAILURES: Final = "firsthop_dns_tcp_accept_failures_total"


class TcpAcceptor:
    """Accepts the connections of one listening socket until `finish`; owns the socket."""

    def __init__(self, sock: socket.socket, connections: TcpConnections) -> None:
        self._sock = sock
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        # Accepted connections inherit both sizes.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_KERNEL)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_KERNEL)

    def start(self) -> None:
        """Begins to accept, in the running loop."""
        self._pause = None
        self._loop.add_reader(self._sock, self._accept_or_pause)

    async def finish(self, deadline: float) -> None:
        """Accepts queued connections until `deadline` (loop time) at most, then closes."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        while self._loop.time() < deadline:
            try:
                if not self._accept():
                    break
            except OSError:
                await asyncio.sleep(ACCEPT_PAUSE_S)
            await asyncio.sleep(0)
        self._sock.close()
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _accept_or_pause(self) -> None:
        try:
            self._accept()
        except OSError:
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self.start)

    def _accept(self) -> bool:
        """Accepts a batch; False if no connection is left. Raises OSError if there is no room.

        Between two batches the connections of the first are read and answered. They are then idle,
        so a burst can have them closed to make room.
        """
        for _ in range(0 if self._starting else ACCEPT_BATCH):
            if not self._connections.has_room():
                raise OSError("no connection is idle")
            try:
                sock, peer = self._sock.accept()
            except BlockingIOError:
                return False
            except ConnectionError:  # closed by the client already
                continue
            except OSError:  # no more files, no memory (accept(2)): the connection stays queued
                self._connections.guard.count(ACCEPT_FAILURES)
                self._connections.end_longest_idle()
                raise
            self._begin(sock, peer)
        return True

    def _begin(self, sock: socket.socket, peer: PeerAddress) -> None:
        """Starts an accepted connection, or refuses it before anything is read from it."""
        connection = self._connections.admit(peer, ipv6=sock.family == socket.AF_INET6)
        if connection is None:
            sock.close()
            return
        sock.setblocking(False)
        starting = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, sock)
        )
        self._starting.add(starting)
        starting.add_done_callback(lambda task: self._started(task, connection))

    def _started(self, task: asyncio.Task[object], connection: TcpConnection) -> None:
        self._starting.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._connections.forget(connection)
