"""Round trips to ICE-TCP clients: the newest 1,000, from TCP_INFO, with the clients' prefixes.

There are none for UDP: a relay forwards checks and their answers, so it could measure only the
round trip to the transceiver, not the one to the client.
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
"""Round trips kept; a batch to the control plane holds as many."""
_MIN_RTT_AT = 148
"""Offset of `tcpi_min_rtt` (µs) in `struct tcp_info` (linux/tcp.h, since Linux 4.6)."""
_UNKNOWN = (0, 0xFFFFFFFF)
_PREFIX_LENGTH = {4: 24, 6: 48}

RoundTripRow = tuple[str, float, float]
"""The client's prefix, milliseconds, and the time in seconds since 1970."""


def least_rtt_ms(sock: socket.socket) -> float | None:
    """The kernel's recent minimum round trip on this connection; None if it has measured none.

    Measuring needs a completed handshake, so a client with a forged address has none.
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
        """`clock` returns seconds since 1970."""
        self._clock = clock
        self._rows: deque[RoundTripRow] = deque(maxlen=MAX_ENTRIES)
        self._last = 0.0

    def note(self, host: str, rtt_ms: float) -> None:
        """Add the round trip to a client, given by its address or prefix."""
        at = self._last = max(self._clock(), self._last + 1e-6)
        network = host if "/" in host else _prefix(host)
        self._rows.append((network, rtt_ms, at))

    def since(self, at: float) -> list[RoundTripRow]:
        """The kept measurements that were noted after `at`."""
        return list(dropwhile(lambda row: row[2] <= at, self._rows))


def _prefix(host: str) -> str:
    host = host.partition("%")[0]
    network = ip_network(host)
    return str(ip_network((host, _PREFIX_LENGTH[network.version]), strict=False))
