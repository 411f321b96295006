"""Round trips to ICE-TCP clients, from TCP_INFO of their connections; by prefix, the newest 1,000.

There are none for UDP: a relay forwards checks and their answers, so it could only measure the way
to the transceiver and back, not the way to the client.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_network
from itertools import dropwhile

MAX_ENTRIES = 1000
"""The size of one batch to the control plane."""
_MIN_RTT_AT = 148
"""Of `tcpi_min_rtt` in `struct tcp_info` (linux/tcp.h), microseconds, since Linux 4.6."""
_UNKNOWN = (0, 0xFFFFFFFF)
_PREFIX_LENGTH = {4: 24, 6: 48}

RoundTripRow = tuple[str, float, float]
"""Prefix of the client, ms, and when, in seconds since 1970."""


def least_rtt_ms(sock: socket.socket) -> float | None:
    """The minimum round trip that the kernel measured on this connection lately; None without one.

    It needs a completed handshake, so a client with a forged address has none.
    """
    with contextlib.suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT_AT + 4)
        if len(info) == _MIN_RTT_AT + 4:
            (microseconds,) = struct.unpack_from("=I", info, _MIN_RTT_AT)
            return None if microseconds in _UNKNOWN else microseconds / 1000
    return None


class ClientRoundTrips:
    """Measurements in the order in which they were noted; times are unique and rising."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._clock = clock
        self._rows: deque[RoundTripRow] = deque(maxlen=MAX_ENTRIES)
        self._last = 0.0

    def note(self, host: str, rtt_ms: float) -> None:
        """Add one, of a client's address or prefix."""
        at = self._last = max(self._clock(), self._last + 1e-6)
        network = host if "/" in host else _prefix(host)
        self._rows.append((network, rtt_ms, at))

    def since(self, at: float) -> list[RoundTripRow]:
        """Those still held that were noted after `at`."""
        return list(dropwhile(lambda row: row[2] <= at, self._rows))


def _prefix(host: str) -> str:
    host = host.partition("%")[0]
    network = ip_network(host)
    return str(ip_network((host, _PREFIX_LENGTH[network.version]), strict=False))
