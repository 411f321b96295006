"""DNS over TCP (RFC 7766): pipelined queries, in order, with limits on what a peer can use.

The limits are on time (idle, slow to read), on size (one received message, a window of unsent
answers) and on connections, in all and from one address. At a limit on connections the longest idle
one is closed. One whose query has not been read is never closed for another: while none is idle,
others wait in the backlog, and those of a client with too many are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import termios
import time
from collections import Counter
from typing import Final

from firsthop_dns.answer.client_keys import TCP4, TCP6, PeerAddress, TransportKind
from firsthop_dns.answer.counters import TCP_CONNECTIONS
from firsthop_dns.answer.respond import respond
from firsthop_dns.serve.error_boundary import ErrorBoundary

MAX_CONNECTIONS: Final = 512
"""Connections in all: well below the 1,024 files that a process may usually open."""
MAX_PER_CLIENT: Final = 256
"""Connections from one IPv4 address or IPv6 /64: half of all, enough for a resolver's burst."""
UNREAD_S: Final = 2.0
"""Seconds that a connection has for its next query before it counts as idle: a lost segment is sent
again after one second (RFC 6298 §2). One that has been answered is idle at once."""
REFUSED: Final = "firsthop_dns_tcp_refused_total"
BATCH: Final = 64
"""Queries answered before other connections are served."""
WRITE_WINDOW: Final = 256 * 1024
"""Octets of answers queued for a slow reader before reading from it stops."""
READ_WINDOW: Final = 2 + 65_535 + 256 * 1024
"""Octets of received messages above which reading pauses: one message and one read of asyncio."""
QUIET_S: Final = 0.5
"""Seconds without a query after which a connection is closed when the server stops."""
FLUSH_S: Final = 0.5
"""Seconds, after the deadline of a stop, for queued answers to be sent."""


class TcpConnections:
    """All connections of one server."""

    def __init__(self, guard: ErrorBoundary, *, idle_s: float) -> None:
        self.guard = guard
        self.idle_s = idle_s
        self._open: dict[TcpConnection, str] = {}
        """The client of each, longest without a query first."""
        self._per_client: Counter[str] = Counter()
        self.none_open = asyncio.Event()
        self.none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    def has_room(self) -> bool:
        """Whether one more connection may be accepted, perhaps in place of an idle one."""
        return len(self._open) < MAX_CONNECTIONS or self._longest_idle() is not None

    def admit(self, peer: PeerAddress, *, ipv6: bool) -> TcpConnection | None:
        """The protocol of an accepted connection; None if its client has too many in use."""
        client = _client(peer, ipv6)
        if self._per_client[client] >= MAX_PER_CLIENT:
            if not self.end_longest_idle(client):
                self.guard.count(REFUSED)
                return None
        elif len(self._open) >= MAX_CONNECTIONS:
            self.end_longest_idle()
        connection = TcpConnection(self, peer, TCP6 if ipv6 else TCP4)
        self._open[connection] = client
        self._per_client[client] += 1
        self.none_open.clear()
        self.guard.count(TCP_CONNECTIONS)
        return connection

    def heard(self, connection: TcpConnection) -> None:
        """Note that a connection has just sent a whole query."""
        client = self._open.pop(connection, None)
        if client is not None:
            self._open[connection] = client

    def forget(self, connection: TcpConnection) -> None:
        """Remove a connection that has ended; a second call does nothing."""
        client = self._open.pop(connection, None)
        if client is not None:
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]
            if not self._open:
                self.none_open.set()

    async def finish(self, deadline: float) -> None:
        """Closes each connection once it is quiet, and the others at `deadline` (loop time).

        New connections are still served, and queries are answered until the deadline.
        """
        self.idle_s = min(self.idle_s, QUIET_S)
        for connection in list(self._open):
            connection.finish()
        await self._all_closed(deadline)
        for connection in list(self._open):
            connection.end()
        await self._all_closed(asyncio.get_running_loop().time() + FLUSH_S)
        for connection in list(self._open):
            connection.abort()

    async def _all_closed(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self.none_open.wait()

    def end_longest_idle(self, client: str | None = None) -> bool:
        """Closes the longest idle of this client's connections, or of all; False: none is idle."""
        connection = self._longest_idle(client)
        if connection is None:
            return False
        connection.abort()
        return True

    def _longest_idle(self, client: str | None = None) -> TcpConnection | None:
        for connection, owner in self._open.items():
            if (client is None or owner == client) and connection.is_idle():
                return connection
        return None


class TcpConnection(asyncio.Protocol):
    """One connection: frames in, frames out."""

    def __init__(self, connections: TcpConnections, peer: PeerAddress, kind: TransportKind) -> None:
        self._connections = connections
        self._guard = connections.guard
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._peer = peer
        self._kind = kind
        self._answered = False
        self._writable = True
        self._ended = False
        self._finishing = False
        self._scheduled = False
        self._last_query = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock: socket.socket = transport.get_extra_info("socket")
        # Else Nagle's algorithm holds each answer of a pipeline for the ACK of the one before.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_WINDOW)
        self._last_query = self._loop.time()
        self._timer = self._loop.call_later(self._connections.idle_s, self._check_idle)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > READ_WINDOW:
            self._transport.pause_reading()
        if not self._scheduled:
            self._answer()

    def eof_received(self) -> bool:
        """A client may close its sending side and wait for its answers (RFC 7766 §6.2.4)."""
        self._ended = True
        return bool(self._scheduled or not self._writable)

    def pause_writing(self) -> None:
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if not self._scheduled:
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._buffer.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._connections.forget(self)

    def is_idle(self) -> bool:
        """Whether no query that has arrived, and no answer, is lost if it is closed now."""
        if self._timer is None:  # not connected yet
            return False
        if self._loop.time() - self._last_query < UNREAD_S:
            answered = self._answered and not self._buffer
            if not answered or self._transport.get_write_buffer_size():
                return False
        return not self._writable or not self._has_unread()

    def _has_unread(self) -> bool:
        """Whether the kernel has octets for it."""
        waiting = bytearray(4)
        fcntl.ioctl(self._transport.get_extra_info("socket"), termios.FIONREAD, waiting)
        return any(waiting)

    def finish(self) -> None:
        """Close in good order after QUIET_S without a query, as the server stops."""
        self._finishing = True
        self._last_query = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._check_idle()

    def end(self) -> None:
        """Read no more queries; queued answers are still sent."""
        self._ended = True
        self._buffer.clear()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._connections.forget(self)
        self._transport.abort()

    def _answer(self) -> None:
        """Answers up to `BATCH` whole messages, and schedules the others."""
        self._scheduled = False
        replies, taken, more = self._take()
        if taken:
            del self._buffer[:taken]
            self._last_query = self._loop.time()
            self._answered = True
            self._connections.heard(self)
        if replies and not self._transport.is_closing():
            self._transport.write(b"".join(replies))
        if self._transport.is_closing() or not self._writable:
            return
        if more:
            self._scheduled = True
            self._loop.call_soon(self._answer)
        elif self._ended:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def _take(self) -> tuple[list[bytes], int, bool]:
        """Replies, octets used up, and whether whole messages are left."""
        buffer, guard = self._buffer, self._guard
        tables, now = guard.tables, time.time()
        replies: list[bytes] = []
        offset = 0
        for _ in range(BATCH):
            end = offset + 2
            if len(buffer) < end:
                return replies, offset, False
            end += int.from_bytes(buffer[offset:end], "big")
            if len(buffer) < end:
                return replies, offset, False
            packet = bytes(buffer[offset + 2 : end])
            offset = end
            try:
                reply = respond(packet, self._peer, tables, now, self._kind)
            except Exception:
                reply = guard.failed(packet, self._kind)
            if reply is None:  # not a query: close the connection
                self._ended = True
                return replies, len(buffer), False
            # Length and message in one write (RFC 7766 §8).
            replies += (len(reply).to_bytes(2, "big"), reply)
        return replies, offset, True

    def _check_idle(self) -> None:
        left = self._last_query + self._connections.idle_s - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle)
        elif self._finishing:
            self.end()
        else:
            self.abort()  # also if it reads too slowly


def _client(peer: PeerAddress, ipv6: bool) -> str:
    if not ipv6:
        return peer[0]
    packed = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
    return packed[:8].hex()
