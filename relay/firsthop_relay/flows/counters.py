"""Packet and flow counters of a relay: plain integers that always add up.

packets received = forwarded + answered + sum of dropped, by reason

A worker sends readings of them to its supervisor, which adds up the readings of all workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, get_args

from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import Ending
from firsthop_relay.flows.readings import CounterReading, MetricTable

_COUNTERS: Final = (
    ("packets_received", "", "Packets received from clients and upstreams."),
    ("bytes_received", "", "Payload of the received packets."),
    ("packets_forwarded", "to", "Packets forwarded to upstreams and to clients."),
    ("packets_answered", "", "Authenticated probes answered."),
    ("bytes_answered", "", "Payload of the answers."),
    ("packets_dropped", "reason", "Packets dropped."),
    ("flows_opened", "", "Flows opened by a first check."),
    ("flows_confirmed", "", "Flows that an upstream confirmed."),
    ("flows_held", "", "Confirmed flows whose client address had another session's media."),
    ("flows_restored", "", "Flows of an earlier process that go on."),
    ("flows_closed", "reason", "Flows that ended."),
    ("streams_accepted", "", "TCP connections of clients."),
    ("streams_refused", "reason", "TCP connections closed before they had a flow."),
)
_GAUGES: Final = (
    ("sessions", "", "Sessions with a confirmed flow."),
    ("flows", "state", "Current flows."),
    ("streams", "", "Current TCP connections of clients."),
    ("draining", "", "1 while the relay takes no new sessions."),
)
RELAY_METRICS: Final = MetricTable("firsthop_relay", _COUNTERS, _GAUGES)
STREAM_REFUSALS: Final = ("full", "prefix_full", "silent", "no_check")


@dataclass(slots=True, eq=False)
class RelayPacketCounters:
    """Counts since the process started; each reason is present from the start, with 0."""

    packets_received: int = 0
    bytes_received: int = 0
    to_upstream: int = 0
    to_client: int = 0
    packets_answered: int = 0
    bytes_answered: int = 0
    dropped: dict[Drop, int] = field(default_factory=lambda: dict.fromkeys(Drop, 0))
    flows_opened: int = 0
    flows_confirmed: int = 0
    flows_held: int = 0
    flows_restored: int = 0
    flows_closed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(Ending), 0))
    streams_accepted: int = 0
    streams_refused: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(STREAM_REFUSALS, 0)
    )

    def reading(self) -> CounterReading:
        """All counters as a value."""
        plain = [name for name, label, _ in _COUNTERS if not label]
        return {
            **{name: {"": getattr(self, name)} for name in plain},
            "packets_forwarded": {"upstream": self.to_upstream, "client": self.to_client},
            "packets_dropped": {reason.value: count for reason, count in self.dropped.items()},
            "flows_closed": dict(self.flows_closed),
            "streams_refused": dict(self.streams_refused),
        }


def counted_only(reading: CounterReading) -> CounterReading:
    """The counters of a reading without its gauges, as for a process that has ended."""
    return {family: reading[family] for family, *_ in _COUNTERS if family in reading}
