"""Who counts: a vantage's word from its probers, exclusion of a broken vantage, the quorum."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.health.quorum import (
    AddressView,
    count,
    self_excluded,
    updated_view,
    views_of_vantages,
)
from firsthop_steering.health.verdicts import Liveness

NOW = 1_000_000.0
VERDICTS = st.sampled_from(["up", "down", "unknown"])


def seen(verdict: Liveness, age_s: float = 0.0, cause: str = "") -> AddressView:
    return AddressView(verdict, NOW - age_s, cause)


def counted(verdicts: Mapping[str, Liveness], previous: Liveness = "unknown") -> Liveness:
    return count({name: seen(each) for name, each in verdicts.items()}, frozenset(), previous)[0]


def word(
    *verdicts: Liveness, before: Liveness | None = None, age_s: float = 0.0
) -> Liveness | None:
    """What one vantage says whose probers say `verdicts`; None: nothing fresh."""
    views = {f"p{i}": seen(each, age_s) for i, each in enumerate(verdicts)}
    last = {} if before is None else {"v": seen(before)}
    words = views_of_vantages(
        views, dict.fromkeys(views, "v"), before=last, now=NOW, stale_after_s=10.0
    )
    return words["v"].verdict if words else None


@pytest.mark.parametrize(
    ("verdicts", "previous", "expected"),
    [
        ("U", "down", "up"),
        ("D", "up", "down"),
        ("UUD", "down", "up"),
        ("DUD", "up", "down"),
        ("UD", "up", "up"),
        ("UD", "down", "down"),
        ("UD", "unknown", "unknown"),
        ("?", "up", "up"),
        ("??D", "up", "up"),
        ("?DD", "up", "down"),
        ("??U", "down", "down"),
        ("UUDD", "up", "up"),
        ("", "up", "up"),
        ("", "down", "down"),
    ],
)
def test_more_than_half_of_the_vantages_decide(
    verdicts: str, previous: Liveness, expected: Liveness
) -> None:
    """Ties, silence and undecided vantages keep what was; one of three is never enough."""
    names: dict[str, Liveness] = {"U": "up", "D": "down", "?": "unknown"}
    assert counted({f"v{i}": names[each] for i, each in enumerate(verdicts)}, previous) == expected


@given(VERDICTS, VERDICTS, VERDICTS)
def test_one_of_three_never_decides(agreed: Liveness, lie: Liveness, previous: Liveness) -> None:
    """Whatever the third says, two that agree have their way; of two undecided nothing follows."""
    expected = previous if agreed == "unknown" else agreed
    for order in permutations(["a", "b", "liar"]):
        summary: dict[str, Liveness] = {each: lie if each == "liar" else agreed for each in order}
        assert counted(summary, previous) == expected


@pytest.mark.parametrize(
    ("verdicts", "before", "expected"),
    [
        (["up", "up", "down"], None, "up"),
        (["down", "unknown"], "up", "down"),
        (["up", "down"], None, "unknown"),
        (["up", "down"], "up", "up"),
        (["up", "down"], "down", "down"),
        (["unknown", "unknown"], "down", "down"),
    ],
)
def test_a_vantage_speaks_by_the_majority_of_its_probers(
    verdicts: list[Liveness], before: Liveness | None, expected: Liveness
) -> None:
    """However many probers stand there, they have one word; a tie keeps the last one."""
    assert word(*verdicts, before=before) == expected


@pytest.mark.parametrize(
    ("age_s", "counts"), [(0, 1), (10, 1), (-10, 1), (10.001, 0), (-10.001, 0)]
)
def test_only_fresh_views_count(age_s: float, counts: bool) -> None:
    """Neither an old one, nor one from a clock that runs further ahead than that."""
    assert (word("down", age_s=age_s) is not None) == counts


def sights(*rows: str) -> list[dict[str, AddressView]]:
    """A row for each relay, a letter for each vantage a, b, c…; a dot: no opinion."""
    names: dict[str, Liveness] = {"U": "up", "D": "down", "?": "unknown"}
    return [
        {"abcdefg"[i]: seen(names[each]) for i, each in enumerate(row) if each != "."}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("rows", "excluded"),
    [
        (["UUD"] * 5, "c"),
        (["UUD"] * 6 + ["UUU"] * 4, "c"),
        (["UUD"] * 5 + ["UUU"] * 4, ""),  # below 60 %
        (["UUD"] * 4, ""),  # below five targets
        (["UUD"] * 4 + ["UU?"], ""),  # `unknown` is no opinion
        (["D"] * 9, ""),  # nobody to contradict
        (["DDD"] * 9, ""),  # all see it: it is real
        (["DUD"] * 9, ""),  # two against one is a quorum, not a broken network
        (["UD"] * 9, "b"),
        (["UUUDD"] * 9, "de"),
        (["UUD"] * 5 + ["DDD"] * 5, ""),  # half of it is confirmed
        (["UUD"] * 5 + ["DDD"] * 4, "c"),
        (["..D"] * 9 + ["UUD"], ""),  # the others know nothing of most
    ],
)
def test_a_vantage_that_alone_sees_most_down_is_excluded(rows: list[str], excluded: str) -> None:
    assert self_excluded(sights(*rows)) == frozenset(excluded)


@given(st.lists(st.tuples(VERDICTS, VERDICTS, VERDICTS), min_size=1, max_size=12))
def test_no_vantage_is_excluded_that_another_confirms(
    rows: list[tuple[Liveness, Liveness, Liveness]],
) -> None:
    """So a lying third vantage cannot have an honest one excluded while the other agrees."""
    honest = [{"a": seen(one), "b": seen(one), "c": seen(lie)} for one, lie, _ in rows]
    assert self_excluded(honest) <= {"c"}


def test_the_excluded_do_not_count_and_are_named() -> None:
    words = {"a": seen("up"), "b": seen("down", cause="timeout"), "c": seen("down")}
    without = count(words, frozenset("c"), "up")
    assert (without.verdict, without.summary) == (
        "up",
        "up at 1, down at 1 of 2 vantages; stays up; excluded: c",
    )
    nobody = count({"c": seen("down")}, frozenset("c"), "up")
    assert (nobody.verdict, nobody.summary, nobody.counted) == (
        "up",
        "no vantage counts; frozen as up; excluded: c",
        (),
    )


def test_sentences_name_up_to_three_causes() -> None:
    """By vantage, in the order of the alphabet, cut to a length."""
    words = {name: seen("down", cause=f"{name} failed " + "x" * 200) for name in "dcba"}
    summary = count(words, frozenset(), "up")
    assert summary.summary == "down at 4 of 4 vantages"
    assert [each[:11] for each in summary.causes.split(", ")] == [f"{v}: {v} failed" for v in "abc"]
    assert len(summary.causes) < 300
    assert count({"a": seen("up")}, frozenset(), "down")[1:3] == ("up at 1 of 1 vantages", "")


def after(outcomes: str, *, every_s: float = 1.0) -> AddressView:
    """`+` passed, `-` failed, `=` the same check told again."""
    state = None
    for at, outcome in enumerate(outcomes):
        cause = state.cause if state and outcome == "=" else "x" * (outcome == "-")
        down: Liveness = "down" if outcome == "-" else "up"
        state = updated_view(
            state, down, checked_at=at * every_s, cause=cause, is_new=outcome != "="
        )
    assert state is not None
    return state


def test_sightings_count_checks_not_reports() -> None:
    """Failures in a row, whether one has passed since, and turns between passed and failed."""
    assert after("++++").alternations == 0
    assert after("+---")[3:5] == (3, True)
    assert after("-===").failures == 1
    assert 1.8 < after("+---+").alternations < 2.0
    assert after("+-+-+-+-+-").alternations > 5
    assert after("+-+", every_s=300).alternations == pytest.approx(1, abs=1e-5)
    passed_once = updated_view(after("+---"), "down", checked_at=9.0, cause="", is_new=True)
    again = updated_view(passed_once, "down", checked_at=10.0, cause="x", is_new=True)
    assert (passed_once.unbroken, again.unbroken, again.failures) == (False, False, 1)


@pytest.mark.parametrize("step_s", [-1e9, -3600, 3600, 1e9])
def test_clock_steps_do_no_harm(step_s: float) -> None:
    """Backwards is no time at all, far ahead is an hour: nothing overflows, nothing grows."""
    before = after("+-+-")
    later = updated_view(before, "up", checked_at=3 + step_s, cause="", is_new=True)
    assert 1.0 <= later.alternations <= before.alternations + 1
