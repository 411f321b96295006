"""Exploration targets: further regions that the leader lets clients of a group measure.

A client uses the target of its prefix if the prefix has a row of learned latency, else that of its
location. Locations are named by coordinates, since cell numbers differ between geo databases.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from firsthop_steering.plan.model import Slug
from firsthop_steering.rtt.exploration import MAX_GROUP_SHARE
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_zones.model import Model

MAX_SHARE = 0.2
"""Largest share of all allocations that explore; a larger one would steer, not explore."""
MAX_TARGET_REGIONS = 6
"""Maximum number of regions per target; those with the largest possible gain are taken. Without
exploration an allocation names up to three regions and a ticket four, so there is always a further
one."""
MAX_TARGETS = 5000
"""Maximum number of targets that a leader publishes for prefixes and locations together, 100 octets
each. A reader accepts this number of each kind."""
MAX_GAIN_MS = 10_000.0


class ExplorationTarget(Model):
    """The regions that one group of clients explores."""

    rate: float = Field(gt=0, le=MAX_GROUP_SHARE)
    """Share of the group's allocations that explore."""
    gain_ms: dict[Slug, Annotated[float, Field(gt=0, le=MAX_GAIN_MS)]] = Field(
        min_length=1, max_length=MAX_TARGET_REGIONS
    )
    """Region → possible gain in ms: the RTT of the region that it may replace, minus the lower
    confidence bound of its own RTT."""


class ExplorationTargets(Model):
    """All targets; empty, with a share of 0, if nothing is to be explored."""

    share: float = Field(default=0.0, ge=0, le=MAX_SHARE)
    """Share of all allocations that may explore; sessions opened at one time may exceed it."""
    prefixes: dict[str, ExplorationTarget] = Field(default_factory=dict, max_length=MAX_TARGETS)
    """By `192.0.2.0/24` or `2001:db8::/48`."""
    places: dict[str, ExplorationTarget] = Field(default_factory=dict, max_length=MAX_TARGETS)
    """By location (`location_key`)."""

    @field_validator("prefixes")
    @classmethod
    def _are_prefixes(cls, prefixes: dict[str, ExplorationTarget]) -> dict[str, ExplorationTarget]:
        for each in prefixes:
            parse_prefix(each)
        return prefixes


def location_key(latitude: float, longitude: float) -> str:
    """Coordinates in degrees to 4 decimals (11 m): `50.1109,8.6821`."""
    return f"{latitude:.4f},{longitude:.4f}"
