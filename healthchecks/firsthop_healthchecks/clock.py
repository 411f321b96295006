"""Wall time, for timestamps and expiries; schedules use the loop's monotonic clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
