"""The desired state of a region, relay or transceiver, as used by plans and route tables."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state that operators configure; measured state is in the status."""

    ACTIVE = "active"
    DRAINING = "draining"
    DISABLED = "disabled"
