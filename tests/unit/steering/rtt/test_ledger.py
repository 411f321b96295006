"""What is kept of reports, for how long, and what is removed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.rtt.ledger import (
    HALF_LIFE_S,
    MAX_REPORTS,
    Ledger,
    LedgerRows,
)
from firsthop_steering.rtt.samples import Samples


def batch(*rows: tuple[int, int, float]) -> Samples:
    """Rows of prefix, source, ms, all about region 0."""
    return Samples(
        np.array([row[0] for row in rows], dtype=np.uint64),
        np.zeros(len(rows), dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows]),
    )


def kept(ledger: Ledger) -> list[tuple[int, int, float]]:
    """Prefix, source and ms of each report."""
    rows = ledger.rows()
    return list(
        zip(rows.prefixes.tolist(), rows.sources.tolist(), rows.rtt_ms.tolist(), strict=True)
    )


def test_weights_halve_in_a_day() -> None:
    """So yesterday's path weighs half of today's, and after nine days it is ignored."""
    ledger = Ledger(10)
    ledger.add(batch((5, 1, 20.0)), now=0)
    assert ledger.rows().weights(now=int(HALF_LIFE_S)).tolist() == [0.5]
    assert len(ledger.alive(now=int(9 * HALF_LIFE_S))) == 1
    assert len(ledger.alive(now=int(9.1 * HALF_LIFE_S))) == 0


def test_a_source_that_reports_often_displaces_no_other() -> None:
    """Of many reports about one path its newest stay, beside one of each other source."""
    ledger = Ledger(1000)
    ledger.add(batch(*((5, source, 20.0) for source in range(1, 9))), now=0)
    for now in range(1, 100):
        ledger.add(batch((5, 0, float(now))), now=now)
    rows = kept(ledger)
    assert len(rows) == MAX_REPORTS
    assert {source for _, source, _ in rows} == {*range(9)}
    loud = [ms for _, source, ms in rows if source == 0]
    assert loud == [float(now) for now in range(100 - len(loud), 100)]


def test_over_the_bound_the_token_with_most_reports_loses() -> None:
    """A flood of one token evicts its own reports, the oldest first."""
    ledger = Ledger(6)
    ledger.add(batch((1, 7, 1.0), (2, 7, 1.0)), now=0)
    for now in range(1, 9):
        ledger.add(batch((10 + now, 9, 1.0)), now=now)
    assert [row[:2] for row in kept(ledger)] == [
        (1, 7),
        (2, 7),
        *((10 + n, 9) for n in range(5, 9)),
    ]
    assert ledger.evicted == 4
    assert ledger.bytes == 24 * len(ledger)


batches = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.floats(1, 99, width=32)),
        min_size=1,
        max_size=30,
    ),
    min_size=1,
    max_size=6,
)


@given(batches, st.data())
def test_the_same_is_kept_however_it_arrives(
    rounds: list[list[tuple[int, int, float]]], data: st.DataObject
) -> None:
    """In batches, or restored from parts: what one leader has, the next one has too."""
    ledger, parts = Ledger(10_000), list[LedgerRows]()
    for now, rows in enumerate(rounds):
        ledger.add(batch(*rows), now=now)
        parts.append(ledger.rows(since=now))
    heir = Ledger(10_000)
    for part in parts:
        heir.put(part)
    assert kept(heir) == kept(ledger)
    keys = ledger.rows().keys
    assert (np.diff(keys.astype(np.int64)) >= 0).all()
    assert np.unique(keys, return_counts=True)[1].max() <= MAX_REPORTS


def test_what_is_forgotten_is_gone() -> None:
    """All of one source, nothing of another."""
    ledger = Ledger(10)
    ledger.add(batch((1, 7, 1.0), (1, 8, 2.0), (2, 7, 3.0)), now=0)
    assert ledger.forget(ledger.rows().sources == 7) == 2
    assert kept(ledger) == [(1, 8, 2.0)]
