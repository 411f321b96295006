"""The verdict on one relay or transceiver: from all vantages together, or from its reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from firsthop_steering.plan.model import Family, Liveness


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict, and since when it has been the same."""

    verdict: Liveness
    since: datetime
    reason: str
    families: Mapping[Family, Liveness] = field(default_factory=dict)
    """The verdict on each probed address; empty until addresses are evaluated separately."""
