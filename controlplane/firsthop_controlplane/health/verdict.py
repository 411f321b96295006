"""The verdict on one relay or transceiver, as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from firsthop_steering.plan.model import Family, Liveness


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict, and since when it is so."""

    verdict: Liveness
    since: datetime
    reason: str
    families: Mapping[Family, Liveness] = field(default_factory=dict)
    """On each address that is checked; empty: as the whole, none was judged by itself yet."""
