"""How many relays may be down by measurement: beyond that, it is the measurement that is doubted.

Knows relays (or their addresses of one family), their regions and since when they are measured
down; not who measured it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Shares(NamedTuple):
    """The largest shares that may be down, 0 to 1; 1 is no limit. One relay always may."""

    region: float = 0.5
    """Of a region's relays."""
    all: float = 0.5
    """Of all relays."""


class Fallen(NamedTuple):
    """A relay that is measured down, and has turned already or now would."""

    relay: str
    region: str
    since: float
    """When it was first measured down, seconds."""
    is_down: bool
    """It has turned already, and stays down."""


def limit(share: float, relays: int) -> int:
    """How many of so many relays may be down."""
    return max(1, int(share * relays))


def guarded(
    fallen: Iterable[Fallen], relays: Mapping[str, int], shares: Shares, *, of: str = "relays"
) -> dict[str, str]:
    """Which of the `fallen` may not turn, and why; `relays` counts all `of` each region.

    Those that fell first turn first, equals by id, so the order of `fallen` does not matter.
    """
    down: Counter[str] = Counter()
    total = sum(relays.values())
    most = limit(shares.all, total)
    refused: dict[str, str] = {}
    for each in sorted(fallen, key=lambda each: (not each.is_down, each.since, each.relay)):
        if not each.is_down:
            of_region = relays[each.region]
            if down[each.region] >= limit(shares.region, of_region):
                refused[each.relay] = f"{down[each.region]} of {of_region} {of} in {each.region}"
            elif down.total() >= most:
                refused[each.relay] = f"{down.total()} of {total} {of}"
            if each.relay in refused:
                continue
        down[each.region] += 1
    return {relay: f"guarded, as {what} are down by measurement" for relay, what in refused.items()}
