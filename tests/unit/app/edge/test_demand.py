"""What an edge tells of its answers: exact counts, and clients who stand for them."""

from __future__ import annotations

from typing import Any

from firsthop.edge.reporting.demand import DemandBuffer
from firsthop_steering.feed.demand import MAX_CLIENTS, DemandReport


def _totals(dns: int = 0, allocated: int = 0, sessions: int = 0, refused: int = 0) -> Any:
    """As a `CounterBoard` has them."""
    by_result = {"allocated": allocated, "session": sessions, "no-relay": refused}
    return {
        "firsthop_region_answers_total": {(("region", "fra"), ("service", "relay")): dns},
        "firsthop_allocations_total": {
            (("region", "fra"), ("result", result), ("service", "relay")): count
            for result, count in by_result.items()
        },
    }


def test_answers_wait_for_a_client_who_stands_for_them() -> None:
    """Nothing is told twice, and nothing is lost."""
    buffer = DemandBuffer()
    assert buffer.due(_totals(dns=5)) == ()
    buffer.note("dns", [("relay", "fra", "192.0.2.0/24", 1)])
    buffer.note("dns", [("relay", "fra", "192.0.2.0/24", 2)])
    due = buffer.due(_totals(dns=9))
    assert [(each.answers, each.clients) for each in due] == [(9, {"192.0.2.0/24": 3})]
    assert buffer.due(_totals(dns=12))[0].answers == 12, "it was not told"
    buffer.reported(due)
    buffer.note("dns", [("relay", "fra", "198.51.100.0/24", 1)])
    assert [each.answers for each in buffer.due(_totals(dns=12))] == [3]


def test_families_with_regions_of_their_own_are_reported_apart() -> None:
    """The planner must know which clients may only go where IPv6 is."""
    buffer = DemandBuffer()
    totals: Any = {
        "firsthop_region_answers_total": {
            (("family", family), ("region", "fra"), ("service", "relay")): count
            for family, count in (("", 7), ("ipv4", 3), ("ipv6", 2))
        }
    }
    rows = [("relay", "fra", "192.0.2.0/24", 1, family) for family in ("", "ipv4", "ipv6")]
    buffer.note("dns", rows)
    due = buffer.due(totals)
    assert [(each.family, each.answers) for each in due] == [(None, 7), ("ipv4", 3), ("ipv6", 2)]
    buffer.reported(due)
    buffer.note("dns", rows)
    assert buffer.due(totals) == ()


def test_allocations_count_when_somebody_got_one() -> None:
    """By their own kind: a session is not an answer that a resolver keeps."""
    buffer = DemandBuffer()
    buffer.note("allocations", [("relay", "fra", "192.0.2.0/24", 1)])
    (due,) = buffer.due(_totals(dns=100, allocated=4, sessions=3, refused=9))
    assert (due.source, due.answers) == ("allocations", 7)


def test_what_is_too_old_is_not_told_later() -> None:
    """After an hour without a control plane that hour's answers are no demand of this minute."""
    buffer = DemandBuffer()
    buffer.note("dns", [("relay", "fra", "192.0.2.0/24", 1)])
    buffer.forget(_totals(dns=1000))
    buffer.note("dns", [("relay", "fra", "192.0.2.0/24", 1)])
    assert [each.answers for each in buffer.due(_totals(dns=1008))] == [8]


def test_a_report_is_bounded() -> None:
    """By clients, thinned out by chance; the counts stay exact."""
    buffer = DemandBuffer()
    buffer.note(
        "dns",
        [("relay", "fra", f"2001:db8:{n:x}::/48", 1) for n in range(MAX_CLIENTS + 500)],
    )
    due = buffer.due(_totals(dns=80_000))
    assert [each.answers for each in due] == [80_000]
    assert sum(len(each.clients) for each in due) == MAX_CLIENTS
    DemandReport.model_validate(
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:10Z", "answers": due}
    )
