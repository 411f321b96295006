"""One check of one target: what every kind of probe gives back, and the door it stands behind.

Each kind is one file here; `README.md` one folder up says how to add one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from firsthop_steering.reports import ProbeTarget


@dataclass(frozen=True, slots=True)
class Passed:
    """The target answered as it should, after so many milliseconds."""

    duration_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The target did not; the reason is a few words for people."""

    reason: str


Outcome = Passed | Failed


class Probe(Protocol):
    """A kind of check; one instance serves all targets of its kind."""

    async def check(self, target: ProbeTarget) -> Outcome:
        """Check once, and end within `target.timeout_s`. Only cancellation may raise."""
        ...

    async def close(self) -> None:
        """Give back what all checks shared."""
        ...


def timed_out(target: ProbeTarget) -> Failed:
    """What silence is called."""
    return Failed(f"no answer in {target.timeout_s:g} s")


def refused(error: OSError) -> Failed:
    """The operating system's words for why the target cannot be reached."""
    words = os.strerror(error.errno) if error.errno else str(error)
    return Failed(words or type(error).__name__)
