"""The interface of all kinds of probes: one check of one target, and its outcomes.

Each kind is one file here; `healthchecks/README.md` describes how to add one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firsthop_steering.feed.reports import ProbeTarget


@dataclass(frozen=True, slots=True)
class Passed:
    """The target answered correctly after `duration_ms`."""

    duration_ms: float
    certificate_ends: datetime | None = None
    """When the server's certificate expires, if the kind reads it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The target did not answer correctly; the reason is a few words for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unable:
    """The check could not be made because of a fault of this host; it has no result."""

    reason: str


ProbeOutcome = Passed | Failed | Unable


class ProbeCheck(Protocol):
    """A kind of check; one instance serves all targets of its kind."""

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Check once, and end within `target.timeout_s`. Only cancellation may raise."""
        ...

    async def close(self) -> None:
        """Release what all checks share."""
        ...


def timed_out(target: ProbeTarget) -> Failed:
    """The outcome of a check without an answer."""
    return Failed(f"no answer in {target.timeout_s:g} s")
