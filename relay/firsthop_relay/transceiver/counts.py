"""What a transceiver counts, in plain integers; they always add up.

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
        ("packets_received", "", "Datagrams that came in."),
        ("bytes_received", "", "Their UDP payload."),
        ("checks_answered", "", "Connectivity checks answered."),
        ("packets_passed_on", "", "DTLS, SRTP and SRTCP given to sessions."),
        ("packets_sent", "", "Datagrams of sessions, checks aside."),
        ("bytes_sent", "", "Their UDP payload."),
        ("packets_unsent", "", "Datagrams of sessions that the kernel refused."),
        ("packets_dropped", "reason", "Datagrams that went nowhere."),
        ("sessions", "result", "What became of sessions."),
    ),
    (
        ("open_sessions", "", "Sessions now."),
        ("accepting", "", "0 while it drains."),
    ),
)


@dataclass(slots=True, eq=False)
class TransceiverCounters:
    """Since the process started. Every reason to drop is there from the start, with 0."""

    packets_received: int = 0
    bytes_received: int = 0
    checks_answered: int = 0
    packets_passed_on: int = 0
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_unsent: int = 0
    dropped: dict[CheckDrop, int] = field(default_factory=lambda: dict.fromkeys(CheckDrop, 0))
    sessions: Counter[str] = field(default_factory=Counter)
    """By result: opened, or why not; restarted; connected; and why they ended."""
    open_sessions: Callable[[], int] = lambda: 0
    accepting: Callable[[], bool] = lambda: True

    def received(self, packet: bytes) -> None:
        """Count a datagram in; one of the outcomes must follow."""
        self.packets_received += 1
        self.bytes_received += len(packet)

    def sent(self, packet: bytes) -> None:
        """Count a datagram of a session out."""
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
