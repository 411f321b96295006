"""What a decision may come to."""

from __future__ import annotations

from typing import Literal

DecisionOutcome = Literal["steered", "open", "closed", "fallback"]
"""A region by all rules; a region though none is up; nothing; or the service's spare addresses."""
