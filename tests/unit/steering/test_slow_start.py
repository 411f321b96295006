"""A relay that comes back gets its share in five steps."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.slow_start import STEPS, share, step_s


def test_a_fifth_at_once_and_the_whole_at_the_end() -> None:
    """Ten seconds: five shares, 2.5 s apart."""
    seconds = (0, 2.4, 2.5, 5, 7.5, 9.99, 10)
    assert [share(at, 10) for at in seconds] == [20, 20, 40, 60, 80, 80, 100]
    assert step_s(10) == 2.5
    assert share(0, 0) == 100


@given(st.floats(-1e9, 1e9), st.floats(0, 3600))
def test_it_never_ends_beyond_its_bounds(at: float, slow_start_s: float) -> None:
    """Whatever the clock says; and each step lasts as long as `step_s` says."""
    now = share(at, slow_start_s)
    assert now in range(100 // STEPS, 101, 100 // STEPS)
    if now < 100:
        later = share(max(at, 0.0) + step_s(slow_start_s) * 1.0001, slow_start_s)
        assert later > now or math.isclose(later, now)
