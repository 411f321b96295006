"""A relay that comes back gets its share in five steps."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.health.slow_start import LEVEL, next_step_s, share


def test_a_fifth_at_once_and_the_whole_at_the_end() -> None:
    """Ten seconds: five shares, 2.5 s apart."""
    seconds = (0, 2.4, 2.5, 5, 7.5, 9.99, 10)
    assert [share(100, 100 + at, 10) for at in seconds] == [20, 20, 40, 60, 80, 80, 100]
    assert next_step_s(20, 10) == 2.5
    assert (share(0, 0, 0), share(None, 0, 10), next_step_s(100, 10)) == (100, 100, math.inf)
    assert share(0, 1, 5e-324) == 100, "the least that a plan may name"


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0, 3600))
def test_it_never_ends_beyond_its_bounds(returned: float, now: float, slow_start_s: float) -> None:
    """Whatever the clock says."""
    assert share(returned, now, slow_start_s) in range(LEVEL, 101, LEVEL)
