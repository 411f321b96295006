"""Groups clients that decide alike, and builds the planner's problem: demand, costs, capacities.

A group is a prefix if something applies to it alone (a row of learned latency, an override by CIDR
or AS number), else a cell of the geo data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.decision.candidates_up import candidates_up
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.decide import tier as tier_of
from firsthop_steering.decision.placement import locate
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Client, Rule, key_range
from firsthop_steering.feed.snapshot import Plan, RelayStatus
from firsthop_steering.plan.model import Service
from firsthop_steering.planner.demand import DemandClients
from firsthop_steering.planner.problem import TransportProblem
from firsthop_steering.rtt.samples import keys_of_prefixes, parse_prefix

CELL = 1 << 60
"""Flag of a group that is a cell; the lower bits are the cell's number."""
MAX_GROUPS = 5000
MAX_CARRIED = 2.0
"""Upper bound of a relay's reported sessions, relative to its capacity."""
_MAX_SPLITS = 4
"""Maximum number of regions with a weight below 100 that are modelled, lightest first; they make at
most 16 kinds of client."""


@dataclass(frozen=True, slots=True)
class ClientGroups:
    """The round trips last sent to edges, and the prefixes that form groups of their own."""

    rtt: RttMap
    prefixes: Keys
    """The prefixes with a row of learned latency, ascending."""

    @classmethod
    def of(cls, rtt: RttMap) -> ClientGroups:
        rows = rtt.latency.prefixes if rtt.latency else ()
        return cls(rtt, np.array(sorted(map(parse_prefix, rows)), dtype=np.uint64))

    @property
    def plan(self) -> Plan:
        return self.rtt.topology.plan

    def groups_of(self, prefixes: Keys) -> Keys:
        """The group of each prefix."""
        overrides = self.plan.document.overrides
        cells, asns = locate(self.rtt.topology.geo, prefixes)
        of_prefix = np.isin(prefixes, self.prefixes)
        of_prefix |= np.isin(asns, [each.asn for each in overrides if each.asn is not None])
        for version in (4, 6):
            mask, keys = keys_of_prefixes(prefixes, version)
            order = np.argsort(keys)
            indexes = np.flatnonzero(mask)[order]
            for each in overrides:
                if each.cidr is not None and each.cidr.version == version:
                    first, last = key_range(each.cidr)
                    low, high = np.searchsorted(keys, [first, last + 1], sorter=order)
                    of_prefix[indexes[low:high]] = True
        return np.where(of_prefix, prefixes, cells.astype(np.uint64) | np.uint64(CELL))

    def rtt_ms(self, groups: Keys) -> tuple[Floats, list[Client]]:
        """Expected RTT, groups × regions, and a representative client of each group."""
        is_cell = groups >= np.uint64(CELL)
        geo = self.rtt.topology.geo
        cells, asns = locate(geo, np.where(is_cell, np.uint64(0), groups))
        cells = np.where(is_cell, (groups & np.uint64(CELL - 1)).astype(np.int64), cells)
        cells = np.minimum(cells, len(geo))
        clients = [
            self._client(group, cell, asn, of_prefix=group < CELL)
            for group, cell, asn in zip(groups.tolist(), cells.tolist(), asns.tolist(), strict=True)
        ]
        columns = [self.rtt.column("relays", client) for client in clients]
        return self.rtt.rtt_us("relays")[:, columns].T / 1000, clients

    def _client(self, group: int, cell: int, asn: int, *, of_prefix: bool) -> Client:
        geo = self.rtt.topology.geo
        located = cell < len(geo)
        country = geo.countries[cell] if located else ""
        continent = geo.continents[cell] if located else ""
        where = cell if located else None
        if not of_prefix:  # a cell: no override by CIDR or AS and no learned row applies
            return Client(4, -1, where, country, continent, 0)
        mask, keys = keys_of_prefixes(np.array([group], dtype=np.uint64), 6)
        if mask[0]:
            return Client(6, int(keys[0]), where, country, continent, asn)
        return Client(4, group << 8, where, country, continent, asn)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Concurrent clients by prefix and by cell; each prefix and each cell occurs once."""

    prefixes: Keys
    of_prefixes: Floats
    cells: Ints
    of_cells: Floats

    def __len__(self) -> int:
        return len(self.prefixes) + len(self.cells)


NOBODY = Wanted(np.empty(0, np.uint64), np.empty(0), np.empty(0, np.int64), np.empty(0))


def wanted_of(clients: DemandClients) -> Wanted:
    """The clients of all services combined."""
    groups, which = np.unique(clients.groups, return_inverse=True)
    count = np.bincount(which, clients.count, len(groups)).astype(np.float64)
    cells = groups >= np.uint64(CELL)
    numbers = (groups[cells] & np.uint64(CELL - 1)).astype(np.int64)
    return Wanted(groups[~cells], count[~cells], numbers, count[cells])


@dataclass(frozen=True, slots=True)
class DemandRows:
    """One row per group; `cost_ms` (groups × regions) is RTT − bias, infinite if not allowed."""

    cost_ms: Floats
    clients: Floats
    homes: Ints
    """The region with the lowest RTT − bias, whether allowed or not."""


def rows_of(clients: DemandClients, client_groups: ClientGroups, steering: Steering) -> DemandRows:
    """The rows of all clients of relay services; clients that no region may serve are left out."""
    costs, counts = [np.empty((0, len(steering.topology.pools["relays"])))], [np.empty(0)]
    homes = [np.empty(0, dtype=np.int64)]
    names = np.array(clients.services)
    families = clients.families or (None,) * len(clients.services)
    bias = np.array([site.bias_us / 1000 for site in steering.topology.pools["relays"]])
    for name, family in sorted(set(zip(clients.services, families, strict=True)), key=str):
        service = steering.topology.services.get(name)
        if service is None or service.pool != "relays":
            continue
        here = (names == name) & np.array([each == family for each in families])
        rtt, examples = client_groups.rtt_ms(clients.groups[here])
        cost, nearest = rtt - bias, (rtt - bias).argmin(axis=1)
        rules = steering.rules(service, "relays")
        rule_of = [next((rule for rule in rules if rule.matches(each)), None) for each in examples]
        for rule in {id(each): each for each in rule_of}.values():
            which = np.array([each is rule for each in rule_of])
            for share, mask in _kinds(steering.of(service, family), service, rule):
                costs.append(np.where(mask, cost[which], np.inf))
                counts.append(clients.count[here][which] * share)
                homes.append(nearest[which])
    return _bounded(
        DemandRows(np.concatenate(costs), np.concatenate(counts), np.concatenate(homes))
    )


def _kinds(steering: Steering, service: Service, rule: Rule | None) -> list[tuple[float, Mask]]:
    """The kinds of clients by the regions they may use, as (share of clients, mask of regions).

    A region keeps a part of its clients according to its weight; the rest cannot use the region.
    """
    sites = steering.topology.pools["relays"]
    reasons, outcome = steering.eligibility(service, "relays", rule)
    allowed = np.array([not reason for reason in reasons], dtype=bool)
    if not allowed.any():
        return []
    weights = steering.weights(service, "relays", ignore_health=outcome == "open")
    light = sorted(
        (weights[at], at) for at in np.flatnonzero(allowed).tolist() if weights[at] < 100
    )
    kinds = [(1.0, allowed)]
    for weight, at in light[:_MAX_SPLITS]:
        without = np.arange(len(sites)) != at
        kinds = [
            kind
            for share, mask in kinds
            for kind in ((share * weight / 100, mask), (share * (1 - weight / 100), mask & without))
        ]
    tiers = np.array([tier_of(rule, site.id) for site in sites])
    return [
        (share, _first_tier(mask if mask.any() else allowed, tiers))
        for share, mask in kinds
        if share > 0
    ]


def _first_tier(mask: Mask, tiers: Ints) -> Mask:
    """Restricts the mask to the best tier: an override's order outranks prices."""
    first: Mask = mask & (tiers == tiers[mask].min())
    return first


def _bounded(rows: DemandRows) -> DemandRows:
    """At most MAX_GROUPS rows: a small group is merged into the largest one with the same nearest
    region."""
    if len(rows.clients) <= MAX_GROUPS:
        return rows
    order = np.argsort(-rows.clients, kind="stable")
    kept, rest = order[:MAX_GROUPS], order[MAX_GROUPS:]
    nearest = rows.cost_ms.argmin(axis=1)
    heirs = np.zeros(rows.cost_ms.shape[1], dtype=np.int64)
    heirs[nearest[kept[::-1]]] = np.arange(MAX_GROUPS)[::-1]
    counts = rows.clients[kept].copy()
    np.add.at(counts, heirs[nearest[rest]], rows.clients[rest])
    return DemandRows(rows.cost_ms[kept], counts, rows.homes[kept])


def problem_of(rows: DemandRows, capacity: Floats, each: Floats) -> TransportProblem:
    """The transport problem of `rows`, in sessions.

    `each` is the number of sessions per client of each home. An infinite `capacity` (none stated)
    is replaced by more than all demand. A counted client is a cache, so its sessions move together:
    that is the problem's grain.
    """
    demand = rows.clients * each[rows.homes]
    wants = float(demand.sum())
    room = np.where(np.isfinite(capacity), capacity, 10 * wants + 1)
    return TransportProblem(
        rows.cost_ms, demand, room, wants / max(float(rows.clients.sum()), 1e-9)
    )


@dataclass(frozen=True, slots=True)
class Supply:
    """Capacity and load of each region.

    `capacity` is infinite if a relay states none. `sessions` is NaN if not all relays report.
    `lost` marks the regions that have enabled relays, but none that is up.
    """

    regions: Sequence[str]
    capacity: Floats
    sessions: Floats
    lost: Mask
    stated: bool = True
    """Whether any relay of the plan states a capacity."""


def supply_of(steering: Steering, asked_loads: Mapping[str, int] | None = None) -> Supply:
    """Capacity and load of each region of `steering`.

    Loads come from the status or, if `asked_loads` is given, only from it: sessions by id of the
    relays that answered. A relay that did not answer is then assumed to carry the mean of its
    region. No relay is assumed to carry more than MAX_CARRIED times its capacity.
    """
    plan, sites = steering.topology.plan, steering.topology.pools["relays"]
    stated = {relay.id: relay.capacity for relay in plan.document.relays}
    statuses = steering.status.relays
    available = candidates_up(sites, steering.status, vantage=None, now=steering.now)
    capacity, sessions = np.zeros(len(sites)), np.zeros(len(sites))
    for at, up in enumerate(available.up):
        carried = []
        for each in up:
            capacity_of, entry = stated[each.id], statuses.get(each.id)
            share = entry.share / 100 if entry else 1.0
            capacity[at] += np.inf if capacity_of is None else capacity_of * share
            reported = entry.sessions if entry else None
            sessions_of = reported if asked_loads is None else asked_loads.get(each.id)
            limit = np.inf if capacity_of is None else MAX_CARRIED * capacity_of
            carried.append(np.nan if sessions_of is None else min(float(sessions_of), limit))
        if asked_loads is not None and not np.isnan(carried).all():
            carried = [float(np.nanmean(carried))] * len(carried)
        sessions[at] = sum(carried)
    lost = np.array(
        [
            bool(wanted) and not up
            for wanted, up in zip(available.configured, available.up, strict=True)
        ],
        dtype=bool,
    )
    is_stated = any(each is not None for each in stated.values())
    return Supply([site.id for site in sites], capacity, sessions, lost, is_stated)


@dataclass(frozen=True, slots=True)
class Restored:
    """The demand rows and capacities as they would be if no region were lost."""

    rows: DemandRows
    capacity: Floats


def restored(
    clients: DemandClients, client_groups: ClientGroups, steering: Steering, lost: Mask
) -> Restored | None:
    """Demand and capacity to plan for the return of lost regions; None if none is lost."""
    if not lost.any():
        return None
    available = candidates_up(
        steering.topology.pools["relays"], steering.status, vantage=None, now=steering.now
    )
    back = {
        relay.id: RelayStatus(verdict="up")
        for at in np.flatnonzero(lost).tolist()
        for relay in available.configured[at]
    }
    relays = {**steering.status.relays, **back}
    status = steering.status.model_copy(update={"relays": relays})
    whole = Steering(steering.topology, status, steering.now, rtt=steering.rtt)
    return Restored(rows_of(clients, client_groups, whole), supply_of(whole).capacity)
