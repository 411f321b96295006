"""A relay's address families, and how their verdicts combine."""

from __future__ import annotations

from collections.abc import Collection

from firsthop_steering.plan.model import Family, Liveness

RelayAddress = tuple[str, Family]
"""A relay's id and the family of one of its addresses."""


def combined_verdict(verdicts: Collection[Liveness]) -> Liveness:
    """The combined verdict: up if any address is up, down if all are down, otherwise unknown."""
    if "up" in verdicts:
        return "up"
    return "unknown" if "unknown" in verdicts or not verdicts else "down"
