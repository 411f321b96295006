"""The DNS server of one worker process: all addresses, UDP and TCP, one generation of tables.

Several processes may listen at the same addresses (SO_REUSEPORT): the kernel spreads the clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from firsthop_dns.answer.generation import Tables
from firsthop_dns.serve.accept import TcpAcceptor
from firsthop_dns.serve.error_boundary import ErrorBoundary
from firsthop_dns.serve.listening import Pair
from firsthop_dns.serve.tcp import TcpConnections
from firsthop_dns.serve.udp import UdpShell

STOP_S = 2.0
"""Seconds for which queries that have arrived are still answered when the server stops."""


class DnsServer:
    """Answers at the sockets of `pairs` from `tables` between `start` and `stop`; owns them."""

    def __init__(self, pairs: Sequence[Pair], tables: Tables) -> None:
        self._pairs = pairs
        self._guard = ErrorBoundary(tables)
        self._connections = TcpConnections(self._guard, idle_s=tables.instance.tcp_idle_s)
        self._udp: list[UdpShell] = []
        self._tcp: list[TcpAcceptor] = []
        self.addresses = [pair.address for pair in pairs]
        """The addresses that it listens at, in the order of `pairs`."""

    @property
    def tables(self) -> Tables:
        """The tables in use."""
        return self._guard.tables

    def swap(self, tables: Tables) -> None:
        """Answer from `tables` from the next message on."""
        self._guard.tables = tables

    async def start(self) -> None:
        """Starts to answer, queued messages first."""
        own = frozenset(self.addresses)
        self._udp = [UdpShell(pair.udp, self._guard, own) for pair in self._pairs]
        self._tcp = [TcpAcceptor(pair.tcp, self._connections) for pair in self._pairs]
        for shell in self._udp:
            shell.start()
        for acceptor in self._tcp:
            acceptor.start()

    async def stop(self) -> None:
        """Answers queries that have arrived, then closes everything; a second call does nothing."""
        deadline = asyncio.get_running_loop().time() + STOP_S
        udp, tcp, self._udp, self._tcp = self._udp, self._tcp, [], []
        await asyncio.gather(
            *(shell.finish(deadline) for shell in udp),
            *(acceptor.finish(deadline) for acceptor in tcp),
        )
        await self._connections.finish(deadline)
