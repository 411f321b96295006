"""Packet and session counters of a transceiver: plain integers that always add up.

packets received = checks answered + packets passed on + sum of packets dropped, by reason
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from firsthop_relay.flows.readings import CounterReading, MetricTable
from firsthop_relay.transceiver.checks import CheckDrop

TRANSCEIVER_METRICS: Final = MetricTable(
    "firsthop_transceiver",
    (
        ("packets_received", "", "Datagrams received."),
        ("bytes_received", "", "UDP payload of datagrams received."),
        ("checks_answered", "", "Connectivity checks answered."),
        ("packets_passed_on", "", "DTLS, SRTP and SRTCP datagrams passed on to sessions."),
        ("packets_sent", "", "Datagrams that sessions sent, without answers to checks."),
        ("bytes_sent", "", "UDP payload of datagrams that sessions sent."),
        ("packets_unsent", "", "Datagrams of sessions that the kernel refused to send."),
        ("packets_dropped", "reason", "Datagrams dropped."),
        ("sessions", "result", "Sessions by event: opened, refused, connected, restarted, ended."),
    ),
    (
        ("open_sessions", "", "Open sessions."),
        ("accepting", "", "0 while the transceiver drains, else 1."),
    ),
)


@dataclass(slots=True, eq=False)
class TransceiverCounters:
    """Counts since the process started. Every drop reason is present from the start, with 0."""

    packets_received: int = 0
    bytes_received: int = 0
    checks_answered: int = 0
    packets_passed_on: int = 0
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_unsent: int = 0
    dropped: dict[CheckDrop, int] = field(default_factory=lambda: dict.fromkeys(CheckDrop, 0))
    sessions: Counter[str] = field(default_factory=Counter)
    """Sessions by result: opened, or why refused; restarted; connected; why ended."""
    open_sessions: Callable[[], int] = lambda: 0
    accepting: Callable[[], bool] = lambda: True

    def received(self, packet: bytes) -> None:
        """Count a received datagram; the caller must then count one outcome."""
        self.packets_received += 1
        self.bytes_received += len(packet)

    def sent(self, packet: bytes) -> None:
        """Count a datagram that a session sent."""
        self.packets_sent += 1
        self.bytes_sent += len(packet)

    def reading(self) -> CounterReading:
        """All counters and gauges as a value."""
        plain = [name for name, label, _ in TRANSCEIVER_METRICS.counters if not label]
        return {
            **{name: {"": getattr(self, name)} for name in plain},
            "packets_dropped": {reason.value: count for reason, count in self.dropped.items()},
            "sessions": dict(self.sessions),
            "open_sessions": {"": self.open_sessions()},
            "accepting": {"": int(self.accepting())},
        }
