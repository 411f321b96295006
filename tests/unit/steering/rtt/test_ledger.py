"""What is kept of samples, and for how long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.rtt.ledger import HALF_LIFE_S, MAX_COUNT, MIN_COUNT, Ledger
from firsthop_steering.rtt.samples import Digest


def batch(*rows: tuple[int, float, float]) -> Digest:
    """Rows of key, ms, count."""
    ordered = sorted(rows)
    return Digest(
        np.array([row[0] for row in ordered], dtype=np.uint64),
        np.array([row[1] for row in ordered]),
        np.array([row[2] for row in ordered]),
    )


def test_counts_halve_in_a_day() -> None:
    """So yesterday's path weighs half of today's, and after nine days it is forgotten."""
    ledger = Ledger(10)
    ledger.add(batch((5, 20.0, 8.0)), now=0)
    assert ledger.entries(now=int(HALF_LIFE_S)).count.tolist() == [4.0]
    assert ledger.entries(now=int(HALF_LIFE_S)).mean_ms.tolist() == [20.0]
    assert len(ledger.entries(now=int(9 * HALF_LIFE_S)).count) == 0
    ledger.add(batch((5, 90.0, 1.0)), now=int(9 * HALF_LIFE_S))
    assert ledger.entries(now=int(9 * HALF_LIFE_S)).mean_ms.tolist() == [90.0]


def test_an_outlier_moves_little() -> None:
    """One retransmission of a second among twenty samples of 20 ms."""
    ledger = Ledger(10)
    for _ in range(19):
        ledger.add(batch((5, 20.0, 1.0)), now=0)
    ledger.add(batch((5, 1020.0, 1.0)), now=0)
    assert ledger.entries(now=0).mean_ms[0] < 21.0


def test_a_new_path_is_followed() -> None:
    """A path that has really changed is no outlier for long, whatever was before."""
    ledger = Ledger(10)
    ledger.add(batch((5, 20.0, 10_000.0)), now=0)
    for _ in range(int(4 * MAX_COUNT)):
        ledger.add(batch((5, 80.0, 1.0)), now=0)
    assert ledger.entries(now=0).mean_ms[0] == pytest.approx(80.0, abs=6)


@given(
    st.lists(
        st.dictionaries(st.integers(0, 60), st.floats(1, 300), min_size=1, max_size=8),
        min_size=1,
        max_size=12,
    )
)
def test_the_bound_holds_and_the_longest_untouched_go(rounds: list[dict[int, float]]) -> None:
    """Never more entries than `most`; of the keys of the last batches none is missing."""
    ledger = Ledger(10)
    newest: dict[int, int] = {}
    for now, values in enumerate(rounds):
        ledger.add(batch(*((key, ms, 1.0) for key, ms in values.items())), now=now)
        newest.update(dict.fromkeys(values, now))
        assert len(ledger) <= 10
    held = set((ledger.entries(now=len(rounds)).prefixes).tolist())
    assert len(newest) - len(ledger) == 0 or len(ledger) == 10
    assert held <= {key >> 10 for key in newest}
    assert ledger.bytes == 24 * len(ledger)


def test_eviction_spares_what_was_touched_last() -> None:
    """And counts what went."""
    ledger = Ledger(3)
    for now, key in enumerate((1024, 2048, 3072)):
        ledger.add(batch((key, 10.0, 1.0)), now=now)
    ledger.add(batch((1024, 10.0, 1.0)), now=3)
    ledger.add(batch((4096, 10.0, 1.0)), now=4)
    assert ledger.entries(now=4).prefixes.tolist() == [1, 3, 4]
    assert ledger.evicted == 1
    assert ledger.entries(now=4).count.min() >= MIN_COUNT
