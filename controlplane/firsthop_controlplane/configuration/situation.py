"""What decisions are made from at one moment, real or supposed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import Plan, Status


@dataclass(frozen=True, slots=True)
class Situation:
    """Plan, status and guidance, and the time that expiries are judged by."""

    plan: Plan
    status: Status
    now: datetime
    guidance: Guidance = NO_GUIDANCE
