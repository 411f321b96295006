"""What a simulation tells: shares of clients, round trips, and who is sent where instead."""

from __future__ import annotations

from firsthop_steering.plan.model import Slug
from firsthop_zones.model import Model

Share = float
"""0 to 1, of all clients asked for."""


class Rtt(Model):
    """Round trips to expect of those who are answered with a region; null: nobody is."""

    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


class Move(Model):
    """Clients who change from one region to another; null stands for no region."""

    source: Slug | None
    target: Slug | None
    share: Share


class RegionLoad(Model):
    """One region's clients before and after."""

    region: Slug
    before: Share
    after: Share
    capacity: int | None
    """Sessions that its relays which are up can carry after the change; null: one does not say."""
    utilisation_before: float | None
    utilisation_after: float | None
    """1.0 = full; null where capacity, or the number of sessions, is not known."""


class CountryMove(Model):
    """Clients of one country who move."""

    country: str
    """ISO 3166 code; empty where none is known."""
    share: Share
    """Of all clients."""
    of_country: Share
    """Of the clients of the country."""


class Simulation(Model):
    """One service under two plans, two statuses, or both."""

    service: str
    """Its name, by which clients ask."""
    clients: int
    """How many were asked for: addresses, or entries of the list."""
    moved: Share
    """Who had a region and gets another, or none."""
    lost: Share
    """Of these, who gets none."""
    gained: Share
    """Who had none and gets one."""
    moved_ipv6: Share | None
    """The same of IPv6 clients, of whom a place has as many as it has IPv4 addresses; null where
    single clients are asked for."""
    rtt_before: Rtt
    rtt_after: Rtt
    moves: tuple[Move, ...]
    """From where to where, the largest first."""
    regions: tuple[RegionLoad, ...]
    countries: tuple[CountryMove, ...]
    """Those with most movers, the largest first."""

    @property
    def upset(self) -> Share:
        """The larger share of both families: what the guard goes by."""
        return max(self.moved, self.moved_ipv6 or 0.0)
