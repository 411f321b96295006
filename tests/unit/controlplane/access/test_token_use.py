"""Which refusals are counted, and when they are abuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from firsthop_controlplane.access.token_use import ABUSE_AFTER, ABUSE_WITHIN, TokenUses
from firsthop_controlplane.access.tokens import Principal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBER = Principal("1", "prober-a", "prober", "a", None)
EDGE = Principal("2", "edge-a", "edge", None, None)


def test_refusals_are_counted_by_role_and_reason() -> None:
    """Races for an object and missing objects belong to normal use."""
    uses = TokenUses()
    for principal, kind in (
        (PROBER, "forbidden"),
        (PROBER, "unauthorized"),
        (None, "unauthorized"),
        (PROBER, "conflict"),
        (EDGE, "not-found"),
        (EDGE, "invalid"),
    ):
        uses.refused(principal, kind, NOW, peer="192.0.2.1")
    assert uses.refusals == {
        ("prober", "forbidden"): 1,
        ("prober", "expired"): 1,
        ("", "unknown"): 1,
        ("edge", "invalid"): 1,
    }


def test_a_caller_who_is_refused_again_and_again_is_reported_once_a_minute() -> None:
    """Each token by itself, and all callers without one together."""
    uses = TokenUses()
    with capture_logs() as logs:
        for number in range(3 * ABUSE_AFTER):
            now = NOW + timedelta(milliseconds=number)
            uses.refused(PROBER, "forbidden", now, peer="192.0.2.1")
            uses.refused(None, "unauthorized", now, peer="192.0.2.2")
        for _ in range(ABUSE_AFTER - 1):
            uses.refused(EDGE, "forbidden", NOW, peer=None)
        uses.refused(EDGE, "forbidden", NOW + ABUSE_WITHIN, peer=None)
    assert [(each["event"], each["token"], each["peer"]) for each in logs] == [
        ("token.abused", "prober-a", "192.0.2.1"),
        ("token.abused", "", "192.0.2.2"),
    ]
    assert uses.abuses == {"prober": 1, "": 1}
    uses.refused(PROBER, "forbidden", NOW + ABUSE_WITHIN, peer=None)
    assert uses.abuses["prober"] == 1
    for _ in range(ABUSE_AFTER):
        uses.refused(PROBER, "forbidden", NOW + ABUSE_WITHIN, peer=None)
    assert uses.abuses["prober"] == 2
