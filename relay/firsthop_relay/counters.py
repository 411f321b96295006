"""What a relay counts, in plain integers; they always add up.

packets received = packets answered + sum of packets dropped, by reason
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, Metric

from firsthop_relay.responder import Drop


@dataclass(slots=True, eq=False)
class Counters:
    """Since the process started. Every reason is there from the start, with 0."""

    packets_received: int = 0
    bytes_received: int = 0
    packets_answered: int = 0
    bytes_answered: int = 0
    dropped: dict[Drop, int] = field(default_factory=lambda: dict.fromkeys(Drop, 0))

    def received(self, packet: bytes) -> None:
        """Count a datagram in; `answered` or `drop` must follow."""
        self.packets_received += 1
        self.bytes_received += len(packet)

    def answered(self, answer: bytes) -> None:
        """Count an answer out."""
        self.packets_answered += 1
        self.bytes_answered += len(answer)

    def drop(self, reason: Drop) -> None:
        """Count a datagram that got no answer."""
        self.dropped[reason] += 1

    def collect(self) -> Iterator[Metric]:
        """The families of `/metrics` (prometheus_client calls it)."""
        for name, value, meaning in (
            ("packets_received", self.packets_received, "Datagrams that came in."),
            ("bytes_received", self.bytes_received, "Their UDP payload."),
            ("packets_answered", self.packets_answered, "Authenticated probes answered."),
            ("bytes_answered", self.bytes_answered, "UDP payload of the answers."),
        ):
            yield CounterMetricFamily(f"firsthop_relay_{name}", meaning, value=value)
        dropped = CounterMetricFamily(
            "firsthop_relay_packets_dropped", "Datagrams without an answer.", labels=["reason"]
        )
        for reason, count in self.dropped.items():
            dropped.add_metric([reason.value], count)
        yield dropped
