"""The result of a simulation: shares of clients that move, round trips, and regional load."""

from __future__ import annotations

from typing import Literal

from firsthop_steering.plan.model import Slug
from firsthop_zones.model import Model

Share = float
"""0 to 1, of all simulated clients."""


class Rtt(Model):
    """Expected round trips of the clients that get a region; null if there are none."""

    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


class Move(Model):
    """Clients that change from one region to another; null stands for no region."""

    source: Slug | None
    target: Slug | None
    share: Share


class RegionLoad(Model):
    """One region's clients before and after."""

    region: Slug
    before: Share
    after: Share
    capacity: int | None
    """Sessions that its relays can carry that are up after the change; null if not known."""
    utilisation_before: float | None
    utilisation_after: float | None
    """1.0 = full; null if capacity or the number of sessions is not known."""


class CountryMove(Model):
    """Clients of one country that move."""

    country: str
    """ISO 3166 code; empty if unknown."""
    share: Share
    """Relative to all clients."""
    of_country: Share
    """Relative to the clients of the country."""


class FamilyCosts(Model):
    """What `families: separate` and `families: together` cost whom, after the change.

    Clients are counted as if each had both families; the RTT of a region does not depend on them.
    """

    setting: Literal["separate", "together"]
    farther_ipv6: Share
    """separate: clients who get an IPv6 address of a farther region than their IPv4 address; those
    who prefer IPv6 go there."""
    farther_ipv6_ms: float | None
    """By how much it is farther, on average; null if it is for none."""
    farther_ipv6_countries: tuple[CountryMove, ...]
    """Where the families are answered with different regions."""
    without_ipv4: Share
    """together: clients who get no IPv4 address, because their nearest region has none."""
    without_ipv6: Share
    """together: clients who get no IPv6 address. Resolvers may keep that for other clients."""
    without_ipv6_countries: tuple[CountryMove, ...]


class Simulation(Model):
    """One service under two plans, two statuses, or both."""

    service: str
    """The service's domain name."""
    clients: int
    """Number of simulated clients: addresses, or entries of the list."""
    moved: Share
    """Clients that had a region and get another, or none."""
    lost: Share
    """The part of `moved` that gets none."""
    gained: Share
    """Clients that had no region and get one."""
    moved_ipv6: Share | None
    """`moved` of IPv6 clients, assuming as many per cell as IPv4 addresses; null if a list of
    clients was given."""
    rtt_before: Rtt
    rtt_after: Rtt
    moves: tuple[Move, ...]
    """Largest share first."""
    regions: tuple[RegionLoad, ...]
    countries: tuple[CountryMove, ...]
    """The countries with most moving clients, largest share first."""
    families: FamilyCosts | None = None
    """Null if all regions that answer have the same address families."""

    @property
    def upset(self) -> Share:
        """The larger `moved` of both families, which the change guard compares with its limit."""
        return max(self.moved, self.moved_ipv6 or 0.0)
