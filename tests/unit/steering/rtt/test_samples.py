"""A batch of samples becomes one value a prefix and region."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.rtt.samples import (
    Samples,
    by_source,
    digest,
    keys_of_prefixes,
    prefix_of,
)


def samples(*rows: tuple[int, int, int, float]) -> Samples:
    """Rows of prefix, region, source, ms."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return Samples(
        np.array(columns[0], dtype=np.uint64), np.array(columns[1], dtype=np.int64),
        np.array(columns[2], dtype=np.int64), np.array(columns[3], dtype=np.float64),
    )  # fmt: skip


_ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4), st.floats(1, 500, width=32)),
    min_size=1,
    max_size=40,
)


@given(_ROWS)
def test_digest_is_the_lower_median_of_the_sources(rows: list[tuple[int, int, int, float]]) -> None:
    """Every source has one vote a prefix and region, however much it sends."""
    found = digest(by_source(samples(*rows)), np.ones(len(by_source(samples(*rows)))))
    expected = {}
    for prefix, region in {row[:2] for row in rows}:
        votes = []
        for source in {row[2] for row in rows}:
            said = sorted(row[3] for row in rows if row[:3] == (prefix, region, source))
            votes += [said[(len(said) - 1) // 4]] if said else []
        expected[prefix << 10 | region] = (sorted(votes)[(len(votes) - 1) // 2], len(votes))
    assert (
        dict(zip(found.keys.tolist(), zip(found.value, found.count, strict=True), strict=True))
        == expected
    )
    assert found.keys.tolist() == sorted(found.keys.tolist())


def test_a_source_without_weight_has_no_say() -> None:
    """Even where nobody else speaks."""
    batch = samples((1, 0, 1, 10.0), (1, 0, 2, 90.0), (2, 0, 2, 90.0))
    found = digest(batch, np.array([1.0, 0.0, 0.0]))
    assert found.keys.tolist() == [1 << 10]
    assert found.value.tolist() == [10.0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_prefixes_know_their_first_key(v4: int, v6: int) -> None:
    """Both families have room in one number, and the way back leads to the block's start."""
    prefixes = np.array([prefix_of(4, v4), prefix_of(6, v6)], dtype=np.uint64)
    which, keys = keys_of_prefixes(prefixes, 4)
    assert which.tolist() == [True, False]
    assert keys.tolist() == [v4 >> 8 << 8]
    which, keys = keys_of_prefixes(prefixes, 6)
    assert which.tolist() == [False, True]
    assert keys.tolist() == [v6 >> 16 << 16]
