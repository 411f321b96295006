"""Slots: one for a set of labels, whoever takes it, and a snapshot that JSON can carry."""

from __future__ import annotations

import json
import sys
from threading import Barrier, Thread

from firsthop_dns.answer.counters import REQUESTS, TRANSPORTS, DnsCounters


def test_labels_have_one_slot() -> None:
    """And the four transports of a zone and type follow one another."""
    counters = DnsCounters()
    counters.slot("other", {})
    first = counters.requests("a.", "A")
    assert counters.requests("a.", "A") == first
    for offset, (proto, family) in enumerate(TRANSPORTS):
        labels = {"zone": "a.", "proto": proto, "family": family, "type": "A"}
        assert counters.slot(REQUESTS, labels) == first + offset
    assert counters.response("a.", "NOERROR") == counters.response("a.", "NOERROR")
    assert counters.response("a.", "NOERROR") != counters.response("b.", "NOERROR")


def test_a_snapshot_is_json_and_leaves_out_zeros() -> None:
    """It goes through a pipe to the supervisor."""
    counters = DnsCounters()
    counters.slot("never", {})
    counters.values[counters.slot("seen", {"zone": "a."})] += 3
    assert json.loads(json.dumps(counters.snapshot())) == {"seen": [[{"zone": "a."}, 3]]}
    assert counters.total("seen") == 3


def test_threads_may_take_slots_at_once() -> None:
    """A new table is loaded off the loop, which answers and counts meanwhile."""
    counters = DnsCounters()
    barrier = Barrier(4)
    found: list[list[int]] = []

    def take() -> None:
        barrier.wait()
        found.append([counters.requests(f"{n}.", "A") for n in range(300)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert found[1:] == found[:-1]
    assert len(counters.values) == 1200
    for zone, first in enumerate(found[0]):
        labels = {"zone": f"{zone}.", "proto": "tcp", "family": "6", "type": "A"}
        assert counters.slot(REQUESTS, labels) == first + 3
