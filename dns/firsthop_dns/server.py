"""The DNS server of one worker process: every address over UDP and TCP, one generation of tables.

Several processes may listen at the same addresses (SO_REUSEPORT): the kernel spreads the clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence

from firsthop_dns.guard import Guard
from firsthop_dns.tables import Tables
from firsthop_dns.tcp import IDLE_S, TcpConnections, bind_tcp
from firsthop_dns.udp import UdpShell, bind_udp

_PORT_ATTEMPTS = 50
STOP_S = 2.0
"""Connections that have answers to send get so long when the server stops."""


class DnsServer:
    """Answers at `listen` from `tables` between `start` and `stop`."""

    def __init__(
        self, listen: Sequence[tuple[str, int]], tables: Tables, *, idle_s: float = IDLE_S
    ) -> None:
        self._listen = listen
        self._guard = Guard(tables)
        self._connections = TcpConnections(self._guard, idle_s=idle_s)
        self._udp: list[UdpShell] = []
        self._tcp: list[asyncio.Server] = []
        self.addresses: list[tuple[str, int]] = []
        """Where it listens, in the order of `listen`; a port 0 has become a real one."""

    @property
    def tables(self) -> Tables:
        """Those in use."""
        return self._guard.tables

    def swap(self, tables: Tables) -> None:
        """From the next message on, answers come from `tables`."""
        self._guard.tables = tables

    async def start(self) -> None:
        """Binds every address or none; raises OSError that names the one that cannot be had."""
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            for host, port in self._listen:
                pairs.append(_bind(host, port))
        except OSError:
            for pair in pairs:
                for sock in pair:
                    sock.close()
            raise
        loop = asyncio.get_running_loop()
        for udp, tcp in pairs:
            shell = UdpShell(udp, self._guard)
            shell.start()
            self._udp.append(shell)
            self._tcp.append(await loop.create_server(self._connections.connect, sock=tcp))
            self.addresses.append(udp.getsockname()[:2])

    async def stop(self) -> None:
        """Answers what has arrived, then closes everything; stopping twice does nothing."""
        loop = asyncio.get_running_loop()
        for server in self._tcp:
            server.close()
        for shell in self._udp:
            shell.stop(loop)
        self._udp.clear()
        self._tcp.clear()
        self._connections.end_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._connections.none_open.wait()
        self._connections.abort_all()


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP at one port; port 0 takes any that both can have, for this process alone."""
    attempts = 1 if port else _PORT_ATTEMPTS
    for left in reversed(range(attempts)):
        what = "tcp"
        tcp: socket.socket | None = None
        try:
            tcp = bind_tcp(host, port, reuse_port=bool(port))
            what = "udp"
            return bind_udp(host, tcp.getsockname()[1], reuse_port=bool(port)), tcp
        except OSError as error:
            if tcp is not None:
                tcp.close()
            if error.errno != errno.EADDRINUSE or not left:
                raise OSError(
                    error.errno, f"{host} port {port}/{what}: {error.strerror}"
                ) from error
    raise AssertionError("the last attempt returns or raises")
