"""The numbers of prefixes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.rtt.samples import keys_of_prefixes, prefix_of


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
