"""Counters to rates, whatever the counters do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_healthchecks.agent.load import (
    Load,
    LoadReading,
    MetricsError,
    load_between,
    read_metrics,
)

counts = st.integers(0, 2**63)
readings = st.builds(LoadReading, st.floats(0, 1e9), counts, counts, counts)

TEXT = """\
# TYPE firsthop_relay_packets_received_total counter
firsthop_relay_packets_received_total 1000
firsthop_relay_bytes_received_total 5e4
firsthop_relay_packets_dropped_total{reason="tag"} 3
firsthop_relay_packets_dropped_total{reason="length"} 4
firsthop_relay_sessions 12
python_info{version="3"} 1
"""


def test_rates_are_differences_over_time() -> None:
    before, after = LoadReading(10.0, 100, 1000, 1), LoadReading(12.0, 300, 5000, 5)
    assert load_between(before, after) == Load(packets=100, bits=16000, dropped=2)


def test_a_restarted_relay_counts_from_zero() -> None:
    before, after = LoadReading(10.0, 100, 1000, 1), LoadReading(12.0, 50, 500, 1)
    assert load_between(before, after) == Load(packets=25, bits=2000, dropped=0)


@settings(deadline=None)
@given(st.none() | readings, readings)
def test_rates_are_finite_and_never_negative(
    before: LoadReading | None, after: LoadReading
) -> None:
    load = load_between(before, after)
    for rate in (load.packets, load.bits, load.dropped):
        assert rate >= 0
        assert not math.isnan(rate)


def test_the_first_reading_and_a_standing_clock_have_no_rate() -> None:
    assert load_between(None, LoadReading(1.0, 5, 5, 5)) == Load()
    assert load_between(LoadReading(1.0, 1, 1, 1), LoadReading(1.0, 5, 5, 5)) == Load()


def test_a_relays_metrics_are_read() -> None:
    assert read_metrics(TEXT, 7.0) == LoadReading(7.0, 1000, 50000, 7, 12)


def test_the_reference_relays_own_metrics_are_read() -> None:
    """What the relay exports and what the agent reads are one set of names."""
    from firsthop_relay.flows.counters import RELAY_METRICS, RelayPacketCounters
    from firsthop_relay.flows.drops import Drop
    from firsthop_relay.process.metrics import exposition

    counters = RelayPacketCounters(packets_received=1, bytes_received=5)
    counters.dropped[Drop.NOT_A_CHECK] = 1
    reading = counters.reading() | {"sessions": {"": 3}}
    assert read_metrics(exposition(reading, RELAY_METRICS).decode(), 7.0) == LoadReading(
        7.0, 1, 5, 1, 3
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "missing: firsthop_relay_packets_received_total, firsthop_relay_bytes"),
        (TEXT.replace("1000", "NaN"), "negative or not finite"),
        (TEXT.replace("1000", "-1"), "negative or not finite"),
        (TEXT.replace("12", "+Inf"), "negative or not finite"),
        ("firsthop_relay_sessions x", "text format"),
        ("<html>", "."),
    ],
)
def test_other_texts_are_refused(text: str, fault: str) -> None:
    with pytest.raises(MetricsError, match=fault):
        read_metrics(text, 7.0)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        read_metrics(text, 7.0)
    except MetricsError:
        return
