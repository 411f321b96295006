"""The possible outcomes of a decision."""

from __future__ import annotations

from typing import Literal

DecisionOutcome = Literal["steered", "open", "closed", "fallback"]
"""steered: a region by all rules. If no region is left, by `when_all_down`: open: a region whatever
its health, and whether drained if all are; closed: no answer; fallback: the service's fallback
addresses."""
