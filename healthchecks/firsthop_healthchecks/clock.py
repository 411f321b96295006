"""Wall time, for stamps and expiries; schedules run on the loop's monotonic clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
