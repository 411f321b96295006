"""Refusals of an input that changes while an edge runs; its former content stays in use.

The input is the document, the geo data or the snapshots. Its loader raises an exception of its own
for content that breaks a rule. Any other exception is a bug in this program: the content is then
refused too, since no content may stop an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Refusals:
    """The counts of one input since the start, and why its newest content is not in use."""

    input: str
    """`document`, `geodata` or `snapshot`."""
    reason: str = ""
    """Empty if the newest content is in use."""
    content: int = 0
    """How often the content broke a rule, or could not be read."""
    faults: int = 0
    """How often a loader raised an exception that it does not document."""

    def add(self, error: Exception, *expected: type[Exception]) -> None:
        """Notes a refusal while `error` is handled; `expected` are the loader's own exceptions."""
        if isinstance(error, (OSError, *expected)):
            self.content += 1
            self.reason = str(error)
            log.error(f"{self.input}.refused", reason=self.reason)
            return
        self.faults += 1
        self.reason = fault_text(error)
        log.exception(f"{self.input}.failed", reason=self.reason)


def fault_text(error: Exception) -> str:
    """The reason of a refusal that is caused by a bug, with the places noted on the exception."""
    where = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    text = (str(error) or "no message").splitlines()[0]
    return f"cannot be read, by a fault of this program{where}: {type(error).__name__}: {text}"
