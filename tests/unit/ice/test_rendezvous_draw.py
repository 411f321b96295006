"""One entrant's arrival is what the race of all buckets says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.rendezvous_draw import BUCKETS, draw, rendezvous_draw
from firsthop_steering.decision.rendezvous import draws, rendezvous_draws


@given(st.text(max_size=40), st.integers(1, 100), st.integers(0, BUCKETS - 1))
def test_one_by_one_equals_all_at_once(name: str, weight: int, spot: int) -> None:
    """So relays, which draw one by one, choose as everybody else would."""
    assert draw(name, spot) == draws(name)[spot]
    assert rendezvous_draw(name, weight, spot) == pytest.approx(
        rendezvous_draws(name, weight)[spot], rel=1e-14
    )
