"""The rules of a soak find what they are for, and excuse what nobody could know."""

from __future__ import annotations

import pytest

from soak.truth import BUDGET_S, Asked, Span, judge

RELAYS = {"10.77.1.4": "relay-fra", "10.77.1.3": "relay-gru"}
DEAD = Span("relay-fra", "kill", 100.0, 140.0)


def answer(at: float, address: str = "10.77.1.4", edge: str = "edge-1") -> Asked:
    return Asked(at, at + 0.01, "fra", edge, address)


def test_a_dead_relay_in_an_answer_is_wrong_after_the_budget() -> None:
    """Not before it, not of another relay, and not when it was back while the answer came."""
    late = answer(100.1 + BUDGET_S)
    assert judge([late], [DEAD], RELAYS).wrong == (late,)
    for fine in (answer(99.9 + BUDGET_S), answer(139.995), answer(120, "10.77.1.3")):
        assert judge([fine], [DEAD], RELAYS).wrong == ()
    assert judge([answer(120, "10.77.1.3")], [DEAD], RELAYS).judged == 1


@pytest.mark.parametrize("target", ["controlplane-1", "vantage-b", "database", "edge-1"])
def test_who_could_not_know_is_excused_for_the_budget(target: str) -> None:
    """A fault between the relay and the answer within the budget before it; not one long ago."""
    recent = Span(target, "cut", 118.0, 119.0)
    assert judge([answer(120)], [DEAD, recent], RELAYS).judged == 0
    assert len(judge([answer(119.1 + BUDGET_S)], [DEAD, recent], RELAYS).wrong) == 1


@pytest.mark.parametrize("target", ["edge-2", "agent-fra", "relay-gru"])
def test_faults_elsewhere_excuse_nothing(target: str) -> None:
    """Another edge, an agent, another relay."""
    assert len(judge([answer(120)], [DEAD, Span(target, "kill", 118, 119)], RELAYS).wrong) == 1


def test_a_query_without_an_answer_is_a_fault_while_an_edge_is_alive() -> None:
    """Deaf edges and those with a new worker answer; killed ones have a while to come back."""
    nobody = Asked(50.0, 53.0, "fra", "", "")
    others = [Span(f"edge-{n}", "kill", 40.0, 60.0) for n in (2, 3)]
    for kind in ("deaf", "worker"):
        assert judge([nobody], [*others, Span("edge-1", kind, 51, 52)], {}).unanswered == (nobody,)
    assert judge([nobody], [*others, Span("edge-1", "stop", 40, 43)], {}).unanswered == (nobody,)
    for span in (Span("edge-1", "stop", 51, 52), Span("edge-1", "kill", 40, 49)):
        assert judge([nobody], [*others, span], {}).unanswered == ()
