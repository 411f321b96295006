"""Which clients are noted of all that are answered."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop_steering.feed.demand import MAX_NOTED, SAMPLED, AnswerSurvey, prefix_text


@pytest.mark.parametrize(
    "asking",
    [
        {"subnet": "203.0.113.0/24"},
        {"subnet": "203.0.113.0/24", "payload": 600},
        {"subnet": "203.0.113.64/26"},
    ],
)
def test_every_eighth_client_of_a_region_is_noted(ask: Any, asking: dict[str, Any]) -> None:
    """On both lanes: the client whom the answer is for, not the resolver."""
    for _ in range(3 * (SAMPLED + 1)):
        ask("geo.example.test", **asking)
    (((slot, prefix), count),) = ask.tables.survey.take().items()
    assert count == 3
    assert prefix_text(prefix) == "203.0.113.0/24"
    assert ask.tables.counters.labels(slot)["service"] == "geo"
    assert not ask.tables.survey.take(), "each look begins anew"


def test_without_a_subnet_it_is_the_resolver(ask: Any) -> None:
    """Who asks stands for those behind it."""
    for _ in range(SAMPLED + 1):
        ask("geo.example.test")
    assert [prefix_text(prefix) for _, prefix in ask.tables.survey.take()] == ["127.0.0.0/24"]


def test_a_survey_is_bounded() -> None:
    """However much is asked between two looks."""
    survey = AnswerSurvey()
    for number in range(MAX_NOTED + 10):
        survey.note("a", 6, number << 16)
    assert survey.take().total() == MAX_NOTED
    survey.note("a", 6, 0x2001_0DB8_0007_0000)
    assert prefix_text(next(iter(survey.take()))[1]) == "2001:db8:7::/48"
