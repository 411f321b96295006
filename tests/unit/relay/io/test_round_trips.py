"""Round trips of clients by TCP: kept by prefix, told once, few; no sockets."""

from __future__ import annotations

from firsthop_relay.io.round_trips import MAX_ENTRIES, ClientRoundTrips


def test_a_client_is_its_prefix() -> None:
    """Whatever family and zone; what another process has shortened stays as it is."""
    kept = ClientRoundTrips(lambda: 100.0)
    for host in ("192.0.2.77", "2001:db8:1:2::3", "fe80::1%eth0", "198.51.100.0/24"):
        kept.note(host, 1.0)
    prefixes = [prefix for prefix, *_ in kept.since(0.0)]
    assert prefixes == ["192.0.2.0/24", "2001:db8:1::/48", "fe80::/48", "198.51.100.0/24"]


def test_whoever_asks_for_what_is_newer_misses_nothing() -> None:
    """Although the clock stands still, or steps back."""
    times = iter([100.0, 100.0, 50.0, 200.0])
    kept = ClientRoundTrips(lambda: next(times))
    seen, since = [], 0.0
    for rtt_ms in (1.0, 2.0, 3.0, 4.0):
        kept.note("192.0.2.1", rtt_ms)
        for _, value, at in kept.since(since):
            seen.append(value)
            since = at
    assert seen == [1.0, 2.0, 3.0, 4.0]
    assert kept.since(since) == []


def test_only_the_newest_are_held() -> None:
    """One batch of an agent."""
    kept = ClientRoundTrips(lambda: 100.0)
    for n in range(MAX_ENTRIES + 5):
        kept.note("192.0.2.1", float(n))
    values = [value for _, value, _ in kept.since(0.0)]
    assert values == [float(n) for n in range(5, MAX_ENTRIES + 5)]
