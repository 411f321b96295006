"""The inputs of decisions at one time, real or hypothetical."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import Plan, Status


@dataclass(frozen=True, slots=True)
class Situation:
    """Plan, status and guidance, and the time for which overrides and the like are checked."""

    plan: Plan
    status: Status
    now: datetime
    guidance: Guidance = NO_GUIDANCE
