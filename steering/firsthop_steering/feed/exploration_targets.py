"""Where clients may look beside their own region: what the leader promises, and to whom.

A client has the promise of its prefix where its prefix has a row of learned latency, else that of
its place: coordinates, as cells have numbers of their own in every geo database.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from firsthop_steering.plan.model import Slug
from firsthop_steering.rtt.exploration import MAX_GROUP_SHARE
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_zones.model import Model

MAX_SHARE = 0.2
"""Of all allocations; more is no exploration, but another way to steer."""
MAX_TARGET_REGIONS = 6
"""Regions that one promise names, those that may gain most: an allocation carries up to three and a
ticket four by themselves, so there is one more for each in any case."""
MAX_TARGETS = 5000
"""Of prefixes and places together, as the leader makes them: 100 octets each. A reader takes as
many of either."""
MAX_GAIN_MS = 10_000.0


class ExplorationTarget(Model):
    """What clients of one group may find out."""

    rate: float = Field(gt=0, le=MAX_GROUP_SHARE)
    """Share of the group's allocations that look further."""
    gain_ms: dict[Slug, Annotated[float, Field(gt=0, le=MAX_GAIN_MS)]] = Field(
        min_length=1, max_length=MAX_TARGET_REGIONS
    )
    """Region → by how much the lower bound of its RTT beats the region that it may pass."""


class ExplorationTargets(Model):
    """All of them; none, and a share of 0, where nothing is to be looked for."""

    share: float = Field(default=0.0, ge=0, le=MAX_SHARE)
    """Of all allocations: no allocator goes beyond, whatever the rates come to."""
    prefixes: dict[str, ExplorationTarget] = Field(default_factory=dict, max_length=MAX_TARGETS)
    """By `192.0.2.0/24` or `2001:db8::/48`."""
    places: dict[str, ExplorationTarget] = Field(default_factory=dict, max_length=MAX_TARGETS)
    """By `location_key`."""

    @field_validator("prefixes")
    @classmethod
    def _are_prefixes(cls, prefixes: dict[str, ExplorationTarget]) -> dict[str, ExplorationTarget]:
        for each in prefixes:
            parse_prefix(each)
        return prefixes


def location_key(latitude: float, longitude: float) -> str:
    """Degrees to 4 decimals, which is 11 m: `50.1109,8.6821`."""
    return f"{latitude:.4f},{longitude:.4f}"
