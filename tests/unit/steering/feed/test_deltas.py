"""A delta turns the status that it starts from into the next one, and no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.feed.deltas import applied, delta_between, follows
from firsthop_steering.feed.snapshot import Status
from support.worlds import status_of

VERDICTS = st.sampled_from(["up", "down", "unknown"])
RELAYS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VERDICTS)


def status(number: int, relays: dict[str, str], transceivers: dict[str, str]) -> Status:
    """Ids of the two kinds have nothing to do with each other."""
    spoken = status_of(number, **dict(sorted(transceivers.items()))).relays
    return status_of(number, **relays).model_copy(update={"transceivers": spoken})


@given(RELAYS, RELAYS, RELAYS, RELAYS)
def test_what_a_delta_is_applied_to_becomes_the_next_status(
    old: dict[str, str], new: dict[str, str], were: dict[str, str], are: dict[str, str]
) -> None:
    """Relays and transceivers that came, went and changed; and nothing else travels."""
    before, after = status(4, old, were), status(9, new, are)
    delta = delta_between(before, after)
    assert follows(delta, before)
    assert applied(delta, before) == after
    assert list(applied(delta, before).relays) == sorted(new)
    assert delta.relays.keys() == {name for name in new if old.get(name) != new[name]}
    assert set(delta.gone) == old.keys() - new.keys()
    assert list(applied(delta, before).transceivers) == sorted(are)
    assert delta.transceivers.keys() == {name for name in are if were.get(name) != are[name]}
    assert set(delta.gone_transceivers) == were.keys() - are.keys()


def test_a_delta_follows_only_its_base() -> None:
    """Another number, another store, nothing at all: something is missing."""
    delta = delta_between(status_of(1), status_of(2, a="up"))
    assert not follows(delta, None)
    assert not follows(delta, status_of(2))
    assert not follows(delta, status_of(1).model_copy(update={"lineage": "another"}))
