"""The upstream sockets: one connected UDP socket per flow, read through their own epoll.

The epoll is itself a readable file, so thousands of sockets are one reader of the event loop. A
ready socket costs a dictionary look-up instead of a callback of the loop.
"""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Callable

from firsthop_relay.flows.flow import Flow
from firsthop_relay.flows.routes import SocketAddress

RESERVE = 128
"""File descriptors left for listeners, logs, metrics and key files."""

UNLIMITED = 1 << 20
"""The kernel's own limit (fs.nr_open), used if the process has none."""


def raise_file_limit() -> int:
    """Raise the soft limit to the hard one; returns how many files this process may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = UNLIMITED
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Upstreams:
    """Flows by file descriptor; `poll` and `flows` are attributes for the shell's hot path."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.poll: Callable[[float, int], list[tuple[int, int]]] = self._epoll.poll
        self.flows: dict[int, Flow] = {}

    def __len__(self) -> int:
        """How many sockets are open."""
        return len(self.flows)

    def fileno(self) -> int:
        """The epoll's descriptor, which is readable while any upstream socket is."""
        return self._epoll.fileno()

    def open(self, flow: Flow, *, port: int = 0) -> bool:
        """Open a socket for `flow`, from the local `port` if it is not 0; False on failure."""
        host = flow.upstream[0]
        sock = None
        try:
            sock = socket.socket(
                socket.AF_INET6 if ":" in host else socket.AF_INET,
                socket.SOCK_DGRAM | socket.SOCK_NONBLOCK,
            )
            if port:
                sock.bind(("", port))
            sock.connect(flow.upstream)
            self.adopt(flow, sock)
        except OSError:
            if sock is not None:
                sock.close()
            return False
        return True

    def adopt(self, flow: Flow, sock: socket.socket) -> None:
        """Make `sock` the flow's socket."""
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        flow.leg, flow.send, flow.take = sock, sock.send, sock.recv
        self.flows[sock.fileno()] = flow

    def close(self, flow: Flow) -> None:
        """Close the flow's socket, if it has one."""
        sock: socket.socket | None = flow.leg
        if sock is not None:
            del self.flows[sock.fileno()]
            sock.close()  # this also removes it from the epoll
            flow.leg = None

    def close_all(self) -> None:
        """Close all sockets, and the epoll."""
        for flow in [*self.flows.values()]:
            self.close(flow)
        self._epoll.close()


def local_port(flow: Flow) -> int:
    """The local port of the flow's socket."""
    port: int = flow.leg.getsockname()[1]
    return port


def is_connected_to(sock: socket.socket, upstream: SocketAddress) -> bool:
    """Whether a socket from another process is a UDP socket connected to `upstream`."""
    try:
        return sock.type == socket.SOCK_DGRAM and tuple(sock.getpeername()[:2]) == upstream
    except OSError:
        return False
