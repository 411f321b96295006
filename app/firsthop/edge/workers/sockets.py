"""The listening sockets of an edge: bound once, read by its workers, handed to its successor.

The supervisor owns them, so packets queued in them survive the worker that reads them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from firsthop.addresses import Listen, format_listen
from firsthop.edge.settings import EdgeSettings
from firsthop.process.takeover import SocketKey
from firsthop_dns.serve.listening import Pair, bind_pair, join_pair
from firsthop_net.listening import bind_tcp, bind_udp

DNS, ALLOCATOR, METRICS = "dns", "allocator", "metrics"


class PortInUseError(Exception):
    """A listening address is in use; the message contains it."""


class ListeningSockets:
    """The sockets by use and address; if there is a predecessor, its sockets are kept."""

    def __init__(self, inherited: Iterable[tuple[SocketKey, int]] = ()) -> None:
        held: dict[SocketKey, list[socket.socket]] = {}
        for key, file in inherited:
            held.setdefault(key, []).append(socket.socket(fileno=file))
        self._dns = {
            key.address: [*map(Pair, udp, held[key._replace(transport="tcp")])]
            for key, udp in held.items()
            if key.transport == "udp"
        }
        self._streams = {
            (key.use, key.address): tcp[0] for key, tcp in held.items() if key.use != DNS
        }

    def bind(self, settings: EdgeSettings) -> None:
        """Bind missing addresses, close those not in `settings`. Raises PortInUseError."""
        try:
            wanted = [format_listen(*listen) for listen in settings.dns]
            for listen, address in zip(settings.dns, wanted, strict=True):
                pairs = self._dns.setdefault(address, [])
                while len(pairs) < settings.dns_workers:
                    pairs.append(join_pair(pairs[0]) if pairs else bind_pair(*listen))
            for address in self._dns.keys() - wanted:
                for pair in self._dns.pop(address):
                    pair.close()
            self._bind_streams({ALLOCATOR: settings.allocator, METRICS: settings.metrics})
        except OSError as error:
            raise PortInUseError(error.strerror) from None

    def _bind_streams(self, listen: dict[str, Sequence[Listen]]) -> None:
        wanted = {
            (use, format_listen(*each)): each for use, several in listen.items() for each in several
        }
        for key, (host, port) in wanted.items():
            if key not in self._streams:
                self._streams[key] = bind_tcp(host, port)
        for key in self._streams.keys() - wanted:
            self._streams.pop(key).close()

    def share(self, worker: int, workers: int) -> list[Pair]:
        """The pairs that one of `workers` reads: at least one of every address.

        More if there are more pairs than workers, since closing a pair would lose its packets.
        """
        return [pair for pairs in self._dns.values() for pair in pairs[worker::workers]]

    def of(self, use: str) -> list[socket.socket]:
        """The TCP sockets of the allocator or of the metrics."""
        return [sock for (each, _), sock in self._streams.items() if each == use]

    def files(self) -> list[tuple[SocketKey, int]]:
        """All file descriptors, for a successor."""
        files = [
            (SocketKey(DNS, address, transport), sock.fileno())
            for address, pairs in self._dns.items()
            for pair in pairs
            for transport, sock in zip(("udp", "tcp"), pair, strict=True)
        ]
        streams = self._streams.items()
        return files + [(SocketKey(*key, transport="tcp"), sock.fileno()) for key, sock in streams]

    def close(self) -> None:
        """Close all sockets in this process; their queued packets are lost if no other has them."""
        for pairs in self._dns.values():
            for pair in pairs:
                pair.close()
        for sock in self._streams.values():
            sock.close()


def check_free(listen: Sequence[Listen], kinds: Sequence[socket.SocketKind]) -> None:
    """Raises PortInUseError if another process listens on one of the addresses."""
    for host, port in listen:
        for kind in kinds:
            try:
                (bind_udp if kind == socket.SOCK_DGRAM else bind_tcp)(host, port).close()
            except OSError as error:
                raise PortInUseError(error.strerror) from None
