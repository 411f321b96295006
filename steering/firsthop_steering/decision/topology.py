"""A plan combined with a geo table: sites, their endpoints, and the prior RTT from every cell.

A topology changes with the plan or the geo table only. Health and load are in the status, which
`firsthop_steering.decision.decide` adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL, GeoTable, normalise
from firsthop_steering.feed.snapshot import Plan
from firsthop_steering.plan.model import (
    Family,
    Forced,
    Override,
    Probe,
    Region,
    Service,
    State,
    TransceiverRegion,
)
from firsthop_steering.rtt.geography import Vectors, distances_km, prior_us, unit_vectors

Pool = Literal["relays", "signalling", "media"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A relay, or a transceiver's signalling or media address."""

    id: str
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    weight: float
    state: State
    probe: Probe | None
    """None for a transceiver, which is not probed and is judged by its own reports."""
    domain: str
    """Failure domain; the endpoint's own id if none is configured."""
    forced: Forced | None = None

    @property
    def active(self) -> bool:
        """Whether operators let it take new clients; its weight may still be 0."""
        return self.state is State.ACTIVE


@dataclass(frozen=True, slots=True)
class Site:
    """A region of a pool with its endpoints."""

    id: str
    latitude: float
    longitude: float
    weight: int
    bias_us: int
    state: State
    endpoints: tuple[Endpoint, ...]
    capacity: int | None = None
    """Sessions that its endpoints may carry together, if operators limit that."""

    @property
    def location(self) -> tuple[float, float]:
        """Latitude and longitude in degrees."""
        return self.latitude, self.longitude

    @property
    def drained(self) -> bool:
        """Whether operators let it take no new clients, whatever its health."""
        takes = any(each.active and each.weight > 0 for each in self.endpoints)
        return self.state is not State.ACTIVE or self.weight == 0 or not takes


@dataclass(frozen=True, slots=True)
class Client:
    """A client as the decision sees it: its normalised address and location."""

    family: Literal[4, 6]
    key: int
    """The IPv4 address, or the top 64 bits of the IPv6 address."""
    cell: int | None
    country: str
    continent: str
    asn: int

    @property
    def address_family(self) -> Family:
        """The family in which the client certainly has connectivity."""
        return "ipv4" if self.family == 4 else "ipv6"


@dataclass(frozen=True, slots=True)
class Rule:
    """An override in force for a service and a pool."""

    id: str
    mode: Literal["prefer", "only", "avoid"]
    regions: tuple[str, ...]
    cidr: IPv4Network | IPv6Network | None
    asn: int | None
    country: str | None
    continent: str | None

    def matches(self, client: Client) -> bool:
        """Whether it applies to this client."""
        if self.cidr is not None:
            first, last = key_range(self.cidr)
            return self.cidr.version == client.family and first <= client.key <= last
        if self.asn is not None:
            return self.asn == client.asn
        if self.country is not None:
            return self.country == client.country
        return self.continent == client.continent


def key_range(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """First and last key of a network; an IPv6 key is the top 64 bits of an address."""
    shift = 0 if network.version == 4 else 64
    return int(network.network_address) >> shift, int(network.broadcast_address) >> shift


class Topology:
    """Sites, clients and prior RTT of one plan on one geo table; see the module."""

    def __init__(self, plan: Plan, geo: GeoTable, former: Topology | None = None) -> None:
        """`former` must use the same geo table; RTTs of sites that have not moved are reused."""
        self.plan = plan
        self.geo = geo
        self.services = {service.id: service for service in plan.document.services}
        self.pools: dict[Pool, tuple[Site, ...]] = {
            "relays": pool_sites(plan, "relays"),
            "signalling": pool_sites(plan, "signalling"),
            "media": pool_sites(plan, "media"),
        }
        self._cells: Vectors = (
            former._cells if former else unit_vectors(geo.latitudes, geo.longitudes)
        )
        self._vectors = {
            pool: unit_vectors([s.latitude for s in sites], [s.longitude for s in sites])
            for pool, sites in self.pools.items()
        }
        self._rtt: dict[Pool, npt.NDArray[np.int64]] = {}
        between = distances_km(self._vectors["media"], self._vectors["relays"])
        self.inner_rtt_us = prior_us(between)
        """Media sites × relay sites, in microseconds."""
        if former is not None:
            for pool in former._rtt:
                self._rtt[pool] = self._taken_over(pool, former)

    def rtt_us(self, pool: Pool) -> npt.NDArray[np.int64]:
        """The geographic prior, sites × cells in microseconds; see `decision.rtt_map`.

        The last column is for unlocated clients: each site's mean over all cells.
        """
        if pool not in self._rtt:
            self._rtt[pool] = self._prior_us(pool, np.arange(len(self.pools[pool])))
        return self._rtt[pool]

    def _prior_us(self, pool: Pool, sites: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of these sites."""
        located = prior_us(self.distances_km(pool, sites))
        mean = located.mean(axis=1) if located.shape[1] else np.zeros(len(located))
        return np.column_stack([located, np.rint(mean).astype(np.int64)])

    def _taken_over(self, pool: Pool, former: Topology) -> npt.NDArray[np.int64]:
        """Reuses the rows of sites whose location exists in `former`; computes the others."""
        old, new = ([s.location for s in each.pools[pool]] for each in (former, self))
        if old == new:
            return former._rtt[pool]
        row = {location: index for index, location in enumerate(old)}
        rtt_us = np.empty((len(new), len(self._cells) + 1), dtype=np.int64)
        for index, location in enumerate(new):
            if location in row:
                rtt_us[index] = former._rtt[pool][row[location]]
        moved = np.array(
            [n for n, location in enumerate(new) if location not in row], dtype=np.int64
        )
        rtt_us[moved] = self._prior_us(pool, moved)
        return rtt_us

    def distances_km(self, pool: Pool, sites: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Great-circle distances, sites × cells; `sites` are indexes in the pool."""
        return distances_km(self._vectors[pool][sites], self._cells)

    def distance_km(self, pool: Pool, site: int, cell: int) -> float:
        """Great-circle distance from a cell to a site."""
        return float(
            distances_km(self._vectors[pool][site : site + 1], self._cells[cell : cell + 1])[0, 0]
        )

    def service(self, id_or_name: str) -> Service | None:
        """The service with that id or domain name."""
        name = id_or_name.lower().removesuffix(".") + "."
        return self.services.get(id_or_name) or next(
            (service for service in self.services.values() if service.name == name), None
        )

    def client(self, address: IPv4Address | IPv6Address) -> Client:
        """The client at `address`."""
        family, key, _ = normalise(address)
        cell = self.geo.find_cell(family, key)
        asn = self.geo.find_asn(family, key)
        if cell == NO_CELL:
            return Client(family, key, None, "", "", asn)
        return Client(
            family, key, int(cell), self.geo.countries[cell], self.geo.continents[cell], asn
        )

    def rules(self, service: Service, pool: Pool, now: datetime) -> tuple[Rule, ...]:
        """The overrides in force, most specific first: CIDR by length, ASN, country, continent.

        An override applies to the pools whose regions it names. Of equally specific overrides, one
        that names the service precedes one for all services.
        """
        ids = {site.id for site in self.pools[pool]}
        speaking = [
            each
            for each in self.plan.document.overrides
            if each.active(now)
            and each.service in (None, service.id)
            and not ids.isdisjoint(each.regions)
        ]
        return tuple(_rule(each) for each in sorted(speaking, key=_specificity))


def pool_sites(plan: Plan, pool: Pool) -> tuple[Site, ...]:
    """The regions of a pool with their endpoints, sorted by id."""
    if pool == "relays":
        return _relay_sites(plan)
    return _transceiver_sites(plan, signalling=pool == "signalling")


def parse_client(text: str) -> IPv4Address | IPv6Address:
    """Parses an address, or a prefix such as `192.0.2.0/24`, which stands for its first address.

    Raises ValueError for anything else.
    """
    try:
        if "/" in text:
            return ip_network(text, strict=False).network_address
        address = ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address or prefix") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("must be an IP address without a scope id")
    return address


def _specificity(override: Override) -> tuple[int, int, bool, str]:
    general = override.service is None
    if override.cidr is not None:
        return (0, -override.cidr.prefixlen, general, override.id)
    tier = 1 if override.asn is not None else 2 if override.country is not None else 3
    return (tier, 0, general, override.id)


def _rule(override: Override) -> Rule:
    return Rule(
        override.id,
        override.mode,
        override.regions,
        override.cidr,
        override.asn,
        override.country,
        override.continent,
    )


def _site(region: Region | TransceiverRegion, endpoints: Sequence[Endpoint]) -> Site:
    return Site(
        id=region.id,
        latitude=region.latitude,
        longitude=region.longitude,
        weight=region.weight,
        bias_us=round(region.bias_ms * 1000),
        state=region.state,
        endpoints=tuple(sorted(endpoints, key=lambda each: each.id)),
        capacity=region.capacity if isinstance(region, TransceiverRegion) else None,
    )


def _relay_sites(plan: Plan) -> tuple[Site, ...]:
    endpoints: dict[str, list[Endpoint]] = {}
    for relay in plan.document.relays:
        families = relay.families_in_service  # the others are not in service
        endpoints.setdefault(relay.region, []).append(
            Endpoint(
                relay.id,
                relay.ipv4 if "ipv4" in families else None,
                relay.ipv6 if "ipv6" in families else None,
                relay.weight,
                relay.state,
                relay.probe,
                relay.failure_domain or relay.id,
                relay.forced,
            )
        )
    return tuple(
        _site(region, endpoints.get(region.id, ()))
        for region in sorted(plan.document.regions, key=lambda each: each.id)
    )


def _transceiver_sites(plan: Plan, *, signalling: bool) -> tuple[Site, ...]:
    endpoints: dict[str, list[Endpoint]] = {}
    for each in plan.document.transceivers:
        if signalling:
            ipv4, ipv6 = each.signalling_ipv4, each.signalling_ipv6
            if ipv4 is None and ipv6 is None:
                continue
        else:
            ipv4 = each.host if isinstance(each.host, IPv4Address) else None
            ipv6 = each.host if isinstance(each.host, IPv6Address) else None
        endpoints.setdefault(each.region, []).append(
            Endpoint(each.id, ipv4, ipv6, each.weight, each.state, None, each.id)
        )
    return tuple(
        _site(region, endpoints.get(region.id, ()))
        for region in sorted(plan.document.transceiver_regions, key=lambda each: each.id)
    )
