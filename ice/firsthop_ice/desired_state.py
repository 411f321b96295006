"""What an operator wants of a region, a relay, a transceiver: one word, for plans and routes."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What the operator wants; what is measured stands in the status."""

    ACTIVE = "active"
    DRAINING = "draining"
    DISABLED = "disabled"
