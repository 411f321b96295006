"""Parts of a plan that expire: overrides, and forced states of relays."""

from __future__ import annotations

from datetime import datetime

from firsthop_steering.feed.snapshot import Plan


def expired(plan: Plan, now: datetime) -> frozenset[str]:
    """The names of overrides and forced states of relays that are not in force at `now`."""
    overrides = (f"override {each.id}" for each in plan.document.overrides if not each.active(now))
    forced = (
        f"relay {each.id}"
        for each in plan.document.relays
        if each.forced is not None and not each.forced.active(now)
    )
    return frozenset((*overrides, *forced))
