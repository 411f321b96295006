"""Load of a relay: rates from two readings of its counters. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

# Names in the relay's `/metrics`; other relays may serve them too.
PACKETS = "firsthop_relay_packets_received_total"
BYTES = "firsthop_relay_bytes_received_total"
DROPPED = "firsthop_relay_packets_dropped_total"
SESSIONS = "firsthop_relay_sessions"


class MetricsError(ValueError):
    """A text that is not a relay's metrics; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Packets and bytes received and packets dropped, since some start; current sessions."""

    at: float
    """Seconds of a monotonic clock."""
    packets: float
    bytes: float
    dropped: float
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Rates per second between two readings."""

    packets: float = 0.0
    bits: float = 0.0
    dropped: float = 0.0


def load_between(before: LoadReading | None, after: LoadReading) -> Load:
    """The rates; zeros if there is no earlier reading. A counter that fell restarted from zero."""
    if before is None or after.at <= before.at:
        return Load()
    seconds = after.at - before.at
    return Load(
        _risen(before.packets, after.packets) / seconds,
        _risen(before.bytes, after.bytes) * 8 / seconds,
        _risen(before.dropped, after.dropped) / seconds,
    )


def _risen(before: float, after: float) -> float:
    return after - before if after >= before else after


def read_metrics(text: str, at: float) -> LoadReading:
    """The counters in a Prometheus exposition. Raises MetricsError."""
    sums: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in (PACKETS, BYTES, DROPPED, SESSIONS):
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    except (ValueError, KeyError, IndexError) as error:
        raise MetricsError(f"not in the Prometheus text format: {error}") from error
    missing = [name for name in (PACKETS, BYTES, DROPPED) if name not in sums]
    if missing:
        raise MetricsError(f"missing: {', '.join(missing)}")
    if not all(math.isfinite(value) and value >= 0 for value in sums.values()):
        raise MetricsError("a value is negative or not finite")
    return LoadReading(at, sums[PACKETS], sums[BYTES], sums[DROPPED], int(sums.get(SESSIONS, 0)))
