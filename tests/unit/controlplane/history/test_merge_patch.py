"""What changed from one snapshot to the next, as merge patches (RFC 7396)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firsthop_controlplane.history.merge_patch import change, changes_between

leaf = st.one_of(
    st.integers(), st.text(max_size=3), st.lists(st.none() | st.integers(), max_size=3)
)
fields = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        leaf,
        lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(fields, fields)
def test_a_patch_makes_the_new_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Applied twice, it makes the same; between equals there is none."""
    patch = changes_between(old, new)
    assert (patch == {}) == (old == new)
    made = deepcopy(old)
    for _ in range(2):
        change(made, deepcopy(patch))
        assert made == new


def test_only_what_differs_is_in_it() -> None:
    """An array, such as a row of round trips, is replaced whole; a nested field by itself."""
    old = {"now": {"fra": 1.0, "iad": 2.0}, "prefixes": {"a": [1, None], "b": [2, 3]}, "scale": 1}
    new = {"now": {"fra": 1.5}, "prefixes": {"a": [1, 4], "b": [2, 3]}, "scale": 1}
    assert changes_between(old, new) == {
        "now": {"fra": 1.5, "iad": None},
        "prefixes": {"a": [1, 4]},
    }
