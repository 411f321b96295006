"""The depool guard: how many may be down, and that nothing but time and id decides which."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.health.depool import Fallen, Shares, guarded, limit

HALF = Shares()


def fall(*names: str, down: int = 0) -> list[Fallen]:
    """`fra-1` is in fra; the first `down` have turned already, the others fell one by one."""
    return [
        Fallen(name, name.partition("-")[0], float(i), i < down) for i, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("share", "relays", "most"),
    [(0.5, 1, 1), (0.5, 2, 1), (0.5, 3, 1), (0.5, 8, 4), (0.1, 8, 1), (1.0, 8, 8), (0.0, 8, 1)],
)
def test_one_relay_may_always_be_down(share: float, relays: int, most: int) -> None:
    assert limit(share, relays) == most


def test_eight_regions_with_a_relay_each() -> None:
    """Four may fall; a region with one relay has no share of its own."""
    regions = {f"r{i}": 1 for i in range(8)}
    names = [f"r{i}-1" for i in range(8)]
    assert not guarded(fall(*names[:4]), regions, HALF)
    assert set(guarded(fall(*names), regions, HALF)) == set(names[4:])
    assert guarded(fall(*names[:5]), regions, HALF) == {
        "r4-1": "guarded, as 4 of 8 relays are down by measurement"
    }


def test_a_region_keeps_half_of_its_relays() -> None:
    """The last to fall stay; other regions are not touched."""
    regions = {"fra": 3, "iad": 9}
    fallen = fall("fra-2", "fra-1", "iad-1", "fra-3")
    assert guarded(fallen, regions, HALF) == {
        "fra-1": "guarded, as 1 of 3 relays in fra are down by measurement",
        "fra-3": "guarded, as 1 of 3 relays in fra are down by measurement",
    }
    assert not guarded(fallen, regions, Shares(1.0, 1.0))


def test_who_is_down_already_stays_down() -> None:
    """Even above the share, after relays were removed from the plan."""
    assert set(guarded(fall("fra-1", "fra-2", "fra-3", down=2), {"fra": 3}, HALF)) == {"fra-3"}


@given(st.permutations(sorted({f"{r}-{n}" for r in "abc" for n in range(1, 7)})), st.data())
def test_shares_hold_whatever_falls_in_whatever_order(
    order: list[str], data: st.DataObject
) -> None:
    """Of equals the lower id turns, so replicas agree."""
    size = data.draw(st.integers(0, len(order)))
    fallen = [Fallen(name, name[0], 0.0, False) for name in order[:size]]
    kept = guarded(fallen, {"a": 6, "b": 6, "c": 6}, HALF)
    assert kept == guarded(sorted(fallen), {"a": 6, "b": 6, "c": 6}, HALF)
    turned = Counter(name[0] for name in order[:size] if name not in kept)
    assert turned.total() <= 9
    assert all(turned[region] <= 3 for region in "abc")
    if size and turned.total() < 9:
        assert all(turned[name[0]] == 3 for name in kept)
