"""What is written down of relays: every change that answers depend on, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from firsthop_controlplane.health.relay_history import MAX_PENDING, RelayHistory
from firsthop_steering.feed.snapshot import RelayStatus, Status, VantageVerdict

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _status(number: int, **relays: dict[str, Any]) -> Status:
    return Status(
        number=number,
        lineage="test",
        created_at=NOW + timedelta(seconds=number),
        relays={name: RelayStatus(**fields) for name, fields in relays.items()},
    )


def _noted(history: RelayHistory) -> list[tuple[str, int, bool]]:
    """Relay, status number, and whether it is there, of what is pending."""
    return [(each.relay, each.number, each.status is not None) for each in history.pending]


def test_a_change_of_what_steers_is_noted_once() -> None:
    """A verdict is, load and reasons are not; a relay that goes is."""
    history = RelayHistory(timedelta(days=7))
    history.note(_status(1, a={"verdict": "up"}, b={"verdict": "up"}), local=False)
    history.note(_status(2, a={"verdict": "up", "load": 0.5}, b={"verdict": "up"}), local=False)
    history.note(_status(3, a={"verdict": "down"}, b={"verdict": "up", "reason": "x"}), local=False)
    history.note(_status(4, b={"verdict": "up"}), local=False)
    history.note(_status(5, a={"verdict": "down"}, b={"verdict": "up"}), local=False)
    assert _noted(history) == [
        ("a", 1, True),
        ("b", 1, True),
        ("a", 3, True),
        ("a", 4, False),
        ("a", 5, True),
    ]
    assert [each.at for each in history.pending][2] == NOW + timedelta(seconds=3)


def test_what_vantages_say_is_noted_where_somebody_goes_by_it() -> None:
    history = RelayHistory(timedelta(days=7))
    word = VantageVerdict(verdict="down", since=NOW)
    for number, local in ((1, False), (2, True)):
        history.note(_status(number, a={}), local=local)
        history.note(_status(number, a={"vantages": {"here": word}}), local=local)
    assert [number for _, number, _ in _noted(history)] == [1, 2]


def test_what_is_written_leaves_what_came_meanwhile() -> None:
    """And while the store is away, only so many changes wait."""
    history = RelayHistory(timedelta(days=7))
    history.note(_status(1, a={"verdict": "up"}), local=False)
    taken = history.pending
    history.note(_status(2, a={"verdict": "down"}), local=False)
    history.written(taken)
    assert _noted(history) == [("a", 2, True)]
    for number in range(3, MAX_PENDING + 20):
        history.note(_status(number, a={"verdict": ("up", "down")[number % 2]}), local=False)
    assert len(history.pending) == MAX_PENDING
