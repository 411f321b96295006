"""The sockets of a relay: bound once, read by its workers, handed to its successor."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from firsthop.addresses import Listen, format_listen
from firsthop.process.takeover import SocketKey
from firsthop.relay.settings import RelaySettings
from firsthop_net.listening import bind_tcp, bind_udp

UDP, TCP, METRICS, FLOWS = "udp", "tcp", "metrics", "flows"


class RelaySockets:
    """The sockets by use and address; if there is a predecessor, its sockets are kept.

    Every worker also has a Unix socket pair, through which it sends its flows to a successor. The
    successor receives the other end with the other files.
    """

    def __init__(
        self,
        inherited: Iterable[tuple[SocketKey, int]] = (),
        prebound: Mapping[str, socket.socket] = MappingProxyType({}),
    ) -> None:
        self._held: dict[tuple[str, str], list[socket.socket]] = {
            (UDP, address): [sock] for address, sock in prebound.items()
        }
        self.predecessors: list[socket.socket] = []
        """Unix sockets from which the flows of a predecessor's workers arrive."""
        self._channels: list[tuple[socket.socket, socket.socket]] = []
        for key, file in inherited:
            sock = socket.socket(fileno=file)
            # Python must know this as well. Otherwise its dup() would make them blocking, here and
            # in the predecessor, as both share the open file that has the flag.
            sock.setblocking(False)
            if key.use == FLOWS:
                self.predecessors.append(sock)
            else:
                self._held.setdefault((key.use, key.address), []).append(sock)

    def bind(self, settings: RelaySettings) -> None:
        """Bind missing addresses, close those not in `settings`. Raises ListenError."""
        wanted: set[tuple[str, str]] = set()
        for use, listen, count in (
            (UDP, settings.udp, settings.workers),
            (TCP, settings.tcp, settings.workers),
            (METRICS, [settings.metrics] if settings.metrics else [], 1),
        ):
            wanted |= {(use, format_listen(*each)) for each in listen}
            self._bind(use, listen, count)
        for key in self._held.keys() - wanted:
            for sock in self._held.pop(key):
                sock.close()
        for _ in range(settings.workers):
            self._channels.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))

    def _bind(self, use: str, listen: Sequence[Listen], count: int) -> None:
        bind = bind_udp if use == UDP else bind_tcp
        for each in listen:
            sockets = self._held.setdefault((use, format_listen(*each)), [])
            while len(sockets) < count:
                if sockets:
                    host, port = sockets[0].getsockname()[:2]
                    sockets.append(bind(host, port, shared=True))
                else:
                    sockets.append(bind(*each))

    def share(self, worker: int, workers: int) -> list[socket.socket]:
        """The sockets that one of `workers` reads: at least one of every address."""
        return [
            sock
            for (use, _), sockets in self._held.items()
            if use in (UDP, TCP)
            for sock in sockets[worker::workers]
        ]

    def predecessors_of(self, worker: int, workers: int) -> list[socket.socket]:
        """The sources of the flows that this worker receives, which are those of its sockets."""
        return self.predecessors[worker::workers]

    def channel(self, worker: int) -> socket.socket:
        """The end of the worker's Unix socket pair to which it writes its flows."""
        return self._channels[worker][0]

    @property
    def metrics(self) -> socket.socket | None:
        """The socket of the metrics; None if there are no metrics."""
        return next((each[0] for (use, _), each in self._held.items() if use == METRICS), None)

    def bound(self) -> list[tuple[str, str, int]]:
        """Transport, host and port of every address, for the log."""
        return [
            (use, *sockets[0].getsockname()[:2])
            for (use, _), sockets in self._held.items()
            if use != METRICS
        ]

    def files(self) -> list[tuple[SocketKey, int]]:
        """All file descriptors, for a successor."""
        files = [
            (SocketKey(use, address, UDP if use == UDP else TCP), sock.fileno())
            for (use, address), sockets in self._held.items()
            for sock in sockets
        ]
        ends = enumerate(other for _, other in self._channels)
        return files + [
            (SocketKey(FLOWS, str(number), "unix"), end.fileno()) for number, end in ends
        ]

    def close(self) -> None:
        """Close all sockets in this process."""
        for sockets in self._held.values():
            for sock in sockets:
                sock.close()
        for sock in (*self.predecessors, *(end for pair in self._channels for end in pair)):
            sock.close()
