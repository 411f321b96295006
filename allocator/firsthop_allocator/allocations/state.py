"""One plan, status and key set, prepared for allocations.

A state is immutable: for each snapshot a new state is made, and one assignment in `Holder` replaces
the old one. Values with few inputs (the text of a set of relays, a distance, the order of a
region's relays) are cached on first use, in caches of bounded size. `PlanTables` holds data that do
not depend on the status, so states of one plan share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from firsthop_allocator.allocations.answer_json import location, session_text
from firsthop_allocator.allocations.route import ClientLocation, SessionRoute, SessionText
from firsthop_ice.turn import turn_secret
from firsthop_ice.ufrag import CredentialKeys
from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import domains_apart
from firsthop_steering.decision.rendezvous import BUCKETS, rendezvous_draws
from firsthop_steering.decision.topology import Endpoint, Topology
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Relay, Service, State, Transceiver

_ORDERS = 1 << 10  # sets of relays, each with 1,024 references to a few orders
_CACHED_LOCATIONS = 1 << 16  # small values; a miss costs 15 us
_RELAY_SETS = 1 << 12  # texts of 3 kB
_ROUTES = 1 << 15  # texts of 1 kB


class ReachableRelay(NamedTuple):
    """A relay with those of its addresses that may be offered now."""

    name: str
    """The relay's id; if it has two addresses and one may not be offered, also which one."""
    relay: Relay


RelayOrders = tuple[tuple[ReachableRelay, ...], ...]


class PlanTables:
    """Data that depends on the plan and the geo table only."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        document = topology.plan.document
        self.relays = {relay.id: relay for relay in document.relays if relay.kind == "relay"}
        """Only these route by ufrag; a TURN server would not understand the credential."""
        self._offered: dict[str, Relay] = {}
        """Relays by the name of their `ReachableRelay`: at most three names per relay."""
        self.turn_servers = {each.id: each for each in document.relays if each.kind == "turn"}
        self.region_index = {site.id: index for index, site in enumerate(topology.pools["relays"])}
        self.wire_ids = {region.id: region.wire_id for region in document.transceiver_regions}
        steered = (each for each in document.services if each.pool == "relays")
        self.transceivers = _by_region(document.transceivers)
        """Transceivers that may get new sessions, by region."""
        self.transceiver_at = _by_wire_ids(document)
        """Transceivers with a signalling address, by the wire id of their region and their own."""
        self.default_service: Service | None = min(steered, key=lambda each: each.id, default=None)
        """The service of a request that names none: the first by id."""
        self.orders = lru_cache(_ORDERS)(self._orders)
        self.distance_km = lru_cache(_CACHED_LOCATIONS)(self._distance_km)
        self.location = lru_cache(_CACHED_LOCATIONS)(self._location)
        self.session_text = lru_cache(_RELAY_SETS)(self._session_text)

    def _orders(self, usable: tuple[Endpoint, ...], turn: bool) -> RelayOrders:
        """For each bucket the order of these relays, or with `turn` TURN servers: by a rendezvous
        draw with their weights, so that the first ones are in different failure domains."""
        named = self.turn_servers if turn else self.relays
        field = [each for each in usable if each.id in named]
        if not field:
            return ((),) * BUCKETS
        arrivals = np.stack([rendezvous_draws(each.id, each.weight) for each in field])
        kept: dict[tuple[int, ...], tuple[ReachableRelay, ...]] = {}
        orders = []
        for order in map(tuple, np.argsort(arrivals, axis=0, kind="stable").T.tolist()):
            if order not in kept:
                ordered = domains_apart([field[index] for index in order])
                kept[order] = tuple(self._reachable(each, named) for each in ordered)
            orders.append(kept[order])
        return tuple(orders)

    def _reachable(self, endpoint: Endpoint, named: Mapping[str, Relay]) -> ReachableRelay:
        """The relay of `endpoint`, without an address that `endpoint` lacks."""
        name, relay = endpoint.id, named[endpoint.id]
        for family in FAMILIES:
            if getattr(relay, family) is not None and getattr(endpoint, family) is None:
                name, relay = f"{name} not {family}", relay.model_copy(update={family: None})
        self._offered[name] = relay
        return ReachableRelay(name, relay)

    def _distance_km(self, region: str, cell: int) -> float:
        """Great circle from a cell to a relay region, to 100 m."""
        return round(self.topology.distance_km("relays", self.region_index[region], cell), 1)

    def _location(self, cell: int | None) -> ClientLocation:
        """The location of a cell; coordinates have 4 decimals, which is 11 m."""
        country, latitude, longitude = None, None, None
        if cell is not None:
            geo = self.topology.geo
            country = geo.countries[cell] or None
            latitude = round(float(geo.latitudes[cell]), 4)
            longitude = round(float(geo.longitudes[cell]), 4)
        return location(country, latitude, longitude)

    def _session_text(self, relays: tuple[str, ...]) -> SessionText:
        return session_text([self._offered[each] for each in relays])


class AllocatorState:
    """One plan, one status and one key set; see the module's docstring."""

    def __init__(
        self,
        steering: Steering,
        keys: CredentialKeys,
        tokens: Mapping[str, datetime | None] | None = None,
        *,
        previous: AllocatorState | None = None,
    ) -> None:
        """`tokens`: SHA-256 in hex of the bearer tokens with role allocator, and their expiry.

        The tables of `previous` are reused if it has the same plan.
        """
        self.steering = steering
        self.keys = keys
        self.tokens = dict(tokens or {})
        lent = previous.tables if previous is not None else None
        same_plan = lent is not None and lent.topology is steering.topology
        self.tables: PlanTables = lent if lent and same_plan else PlanTables(steering.topology)
        self.turn_secret = turn_secret(keys.masters[keys.signing])
        self._relays: dict[tuple[str, str, bool, bool], RelayOrders] = {}
        self._routes: dict[tuple[object, ...], SessionRoute] = {}

    @property
    def exploration_share(self) -> float:
        """The share of allocations that may contain a relay only to measure it."""
        latency = self.steering.rtt.latency
        return latency.explore.share if latency else 0.0

    def relays_at(
        self,
        service: Service,
        region: str,
        drawn: int,
        *,
        ignore_health: bool,
        turn: bool = False,
    ) -> tuple[ReachableRelay, ...]:
        """The relays of a region that a service may offer now, in the order for bucket `drawn`;
        with `turn`, its TURN servers instead."""
        key = service.id, region, ignore_health, turn
        orders = self._relays.get(key)
        if orders is None:
            site = self.tables.region_index[region]
            usable = self.steering.usable(service, "relays", site, ignore_health=ignore_health)
            orders = self._relays[key] = self.tables.orders(usable, turn)
        return orders[drawn]

    def kept_route(self, key: tuple[object, ...]) -> SessionRoute | None:
        """The route that was kept for `key`; None if there is none."""
        return self._routes.get(key)

    def keep_route(self, key: tuple[object, ...], route: SessionRoute) -> None:
        """Keep `route` for `key`; if too many are kept, first drop all of them."""
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        self._routes[key] = route


@dataclass(slots=True)
class Holder:
    """Holds the state in force, which is replaced by one assignment."""

    state: AllocatorState | None = None
    reason: str = "no snapshot has arrived yet"
    """Why there is no state, for readiness."""


def _by_region(transceivers: Iterable[Transceiver]) -> dict[str, tuple[Transceiver, ...]]:
    found: dict[str, tuple[Transceiver, ...]] = {}
    for each in transceivers:
        if each.state is State.ACTIVE and each.weight and each.wire_id and _can_be_asked(each):
            found[each.region] = (*found.get(each.region, ()), each)
    return found


def _by_wire_ids(document: Document) -> dict[tuple[int, int], Transceiver]:
    regions = {region.id: region.wire_id for region in document.transceiver_regions}
    return {
        (region, each.wire_id): each
        for each in document.transceivers
        if (region := regions[each.region]) and each.wire_id and _can_be_asked(each)
    }


def _can_be_asked(transceiver: Transceiver) -> bool:
    """Whether the plan has the address of its HTTP API."""
    address = transceiver.signalling_ipv4 or transceiver.signalling_ipv6
    return address is not None and transceiver.signalling_port is not None
