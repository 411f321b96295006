"""The depool limit: how many relays may be down before the measurement is distrusted.

It applies to relays or to their addresses of one family. This module knows their regions and since
when they are measured down, not the measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Shares(NamedTuple):
    """The largest shares that may be down, 0 to 1; 1 means no limit. One relay may always be."""

    region: float = 0.5
    """Share of a region's relays."""
    all: float = 0.5
    """Share of all relays."""


class Fallen(NamedTuple):
    """A relay that is measured down; its verdict has changed already, or would change now."""

    relay: str
    region: str
    since: float
    """When it was first measured down, in seconds."""
    is_down: bool
    """Whether its verdict is down already; it then stays down."""


def limit(share: float, relays: int) -> int:
    """How many of `relays` may be down; at least 1."""
    return max(1, int(share * relays))


def guarded(
    fallen: Iterable[Fallen], relays: Mapping[str, int], shares: Shares, *, of: str = "relays"
) -> dict[str, str]:
    """Relays of `fallen` whose verdict must not change to down, with the reason.

    `relays` is the number of relays per region; `of` is the noun that the reason uses for them.
    Relays that fell first take precedence, then the lower id, so the order of `fallen` does not
    matter.
    """
    down: Counter[str] = Counter()
    total = sum(relays.values())
    max_down = limit(shares.all, total)
    refused: dict[str, str] = {}
    for each in sorted(fallen, key=lambda each: (not each.is_down, each.since, each.relay)):
        if not each.is_down:
            of_region = relays[each.region]
            if down[each.region] >= limit(shares.region, of_region):
                refused[each.relay] = f"{down[each.region]} of {of_region} {of} in {each.region}"
            elif down.total() >= max_down:
                refused[each.relay] = f"{down.total()} of {total} {of}"
            if each.relay in refused:
                continue
        down[each.region] += 1
    return {relay: f"guarded, as {what} are down by measurement" for relay, what in refused.items()}
