"""Who leads: the table, one row a case, and when a leader may speak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_controlplane.leader.leadership import (
    STALE_S,
    UNSURE_S,
    Away,
    Finding,
    HeldLease,
    Leader,
    LeadershipState,
    Lease,
    Outranked,
    Standby,
    Taken,
    after,
    first_number,
    may_publish,
)

OURS = Lease(3, "us", "http://us")
THEIRS = Lease(4, "them", "http://them")
OLD = Lease(4, "them", "http://them", age_s=STALE_S + 0.1)
LEADER = Leader(OURS, asked_at=10.0, renewed_at=10.0)
STANDBY = Standby(THEIRS)


@pytest.mark.parametrize(
    ("state", "finding", "then", "step"),
    [
        (Standby(), Away(), Standby(), "wait"),
        (STANDBY, Away(), STANDBY, "wait"),
        (STANDBY, HeldLease(OURS), Leader(OURS, 11.0, 11.0), "wait"),
        (Standby(), Taken(THEIRS), STANDBY, "wait"),
        (STANDBY, Taken(OLD), Standby(OLD), "end holder"),
        (LEADER, HeldLease(OURS), Leader(OURS, 11.0, 11.0), "wait"),
        (LEADER, Away(), Leader(OURS, 11.0, 10.0), "wait"),
        (LEADER, Taken(OURS), Leader(OURS, 11.0, 10.0), "end holder"),
        (LEADER, Taken(THEIRS), STANDBY, "wait"),
        (LEADER, Taken(OLD), Standby(OLD), "end holder"),
        (LEADER, Outranked(Lease(3, "", "http://x")), LEADER, "wait"),
        (LEADER, Outranked(THEIRS), STANDBY, "wait"),
        (STANDBY, Outranked(Lease(4, "", "http://x")), STANDBY, "wait"),
        (Standby(), Outranked(THEIRS), STANDBY, "wait"),
    ],
)
def test_the_table(
    state: LeadershipState, finding: Finding, then: LeadershipState, step: str
) -> None:
    """Asked at 11."""
    assert after(state, finding, 11.0) == (then, step)


@pytest.mark.parametrize(
    ("state", "now", "may"),
    [
        (STANDBY, 11.0, False),
        (LEADER, 10.0 + UNSURE_S - 0.01, True),
        (LEADER, 10.0 + UNSURE_S, False),
        (after(LEADER, Away(), 60.0)[0], 60.5, True),
    ],
    ids=["standby", "asked of late", "stopped since", "the database is away"],
)
def test_a_leader_speaks_only_when_it_has_asked_of_late(
    state: LeadershipState, now: float, may: bool
) -> None:
    """What it believed before it was stopped is no reason to publish."""
    assert may_publish(state, now) is may


def test_an_answer_to_a_question_from_before_a_stop_does_not_count() -> None:
    """The time-out of a question is noticed when the process runs again."""
    stopped_at, runs_again = 20.0, 80.0
    state, _ = after(LEADER, Away("time-out"), stopped_at)
    assert not may_publish(state, runs_again)


TERMS = st.integers(1, 50)
FINDINGS = st.one_of(
    st.builds(HeldLease, st.builds(Lease, TERMS, st.just("us"))),
    st.builds(
        Taken, st.builds(Lease, TERMS, st.sampled_from(["us", "them"]), age_s=st.floats(0, 9))
    ),
    st.builds(Away),
    st.builds(Outranked, st.builds(Lease, TERMS, st.just("them"))),
)


@given(st.lists(FINDINGS))
def test_only_the_database_makes_a_leader(findings: list[Finding]) -> None:
    """Whatever is found in whatever order: who leads held the lease, and nobody since denied it."""
    state: LeadershipState = Standby()
    for at, finding in enumerate(findings):
        was = state
        state, _ = after(state, finding, float(at))
        if isinstance(state, Leader) and not isinstance(finding, HeldLease):
            assert isinstance(was, Leader)
            assert state.lease == was.lease
            assert not (isinstance(finding, Taken) and finding.lease.holder == "them")


def test_terms_leave_room_and_only_rise() -> None:
    """A status a millisecond for eleven days does not reach the next term."""
    assert first_number(1) + 11 * 86_400_000 < first_number(2)
