"""What a transceiver counts, in plain integers; they always add up.

packets received = checks answered + packets passed on + sum of packets dropped, by reason
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from firsthop_relay.transceiver.checks import CheckDrop


@dataclass(slots=True, eq=False)
class TransceiverCounters:
    """Since the process started. Every reason to drop is there from the start, with 0."""

    packets_received: int = 0
    bytes_received: int = 0
    answered: int = 0
    passed_on: int = 0
    packets_sent: int = 0
    bytes_sent: int = 0
    unsent: int = 0
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

    def collect(self) -> Iterator[Metric]:
        """The families of `/metrics` (prometheus_client calls it)."""
        for name, value, meaning in (
            ("packets_received", self.packets_received, "Datagrams that came in."),
            ("bytes_received", self.bytes_received, "Their UDP payload."),
            ("checks_answered", self.answered, "Connectivity checks answered."),
            ("packets_passed_on", self.passed_on, "DTLS, SRTP and SRTCP given to sessions."),
            ("packets_sent", self.packets_sent, "Datagrams of sessions, checks aside."),
            ("bytes_sent", self.bytes_sent, "Their UDP payload."),
            ("packets_unsent", self.unsent, "Datagrams of sessions that the kernel refused."),
        ):
            yield CounterMetricFamily(f"firsthop_transceiver_{name}", meaning, value=value)
        yield self._labelled(
            "packets_dropped", "Datagrams that went nowhere.", "reason", self.dropped
        )
        yield self._labelled("sessions", "What became of sessions.", "result", self.sessions)
        for name, level, meaning in (
            ("open_sessions", self.open_sessions(), "Sessions now."),
            ("accepting", int(self.accepting()), "0 while it drains."),
        ):
            yield GaugeMetricFamily(f"firsthop_transceiver_{name}", meaning, value=level)

    def _labelled(
        self, name: str, meaning: str, label: str, values: dict[CheckDrop, int] | Counter[str]
    ) -> Metric:
        family = CounterMetricFamily(f"firsthop_transceiver_{name}", meaning, labels=[label])
        for key, count in values.items():
            family.add_metric([str(key)], count)
        return family
