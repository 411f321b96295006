"""Compares two steerings for all clients at once: which clients move, and how their RTT changes.

It uses the client classes and decisions from which tables are compiled, so it covers everything on
which answers depend (weights, overrides, health, prices) without repeating any rule. Regions are
compared, not relays: a client that gets another relay of the same region has not moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import numpy as np

from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision.decide import Steering
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status
from firsthop_steering.whatif.sim_movement import Movement, concatenated, movements_of
from firsthop_steering.whatif.sim_population import (
    SimPopulation,
    listed_population,
    whole_population,
)
from firsthop_steering.whatif.sim_side import NOWHERE, Codes, SimSide
from firsthop_steering.whatif.simulation import CountryMove, Move, RegionLoad, Rtt, Simulation

FAMILIES: tuple[Literal[4, 6], ...] = (4, 6)
COUNTRIES = 10
"""Maximum number of countries in a result."""
_RTT_STEP_US = 10
"""Resolution of percentiles."""


def simulate(
    before: Steering,
    after: Steering,
    name: str,
    clients: Sequence[IPv4Address | IPv6Address] | None = None,
    *,
    sessions: int | None = None,
) -> Simulation:
    """Compares the service with that domain name under both steerings.

    `clients` None stands for all IPv4 addresses that the geo table locates; the result then also
    has the share of IPv6 clients that move. `sessions` is the total number of sessions, for
    utilisation. A steering without that service gives no client a region.
    """
    sides = SimSide.of(before, name), SimSide.of(after, name)
    codes = {region: code for code, region in enumerate(_regions(sides))}
    four: tuple[SimPopulation, ...]
    six: tuple[SimPopulation, ...]
    if clients is None:
        geo = after.topology.geo
        four, six = (
            whole_population(geo, f, [each.split_ranges(f) for each in sides]) for f in FAMILIES
        )
    else:
        four, six = ((listed_population(after.topology, clients, f),) for f in FAMILIES)
    populations = (*four, *six)
    movement = movements_of(populations, *(each.sends(populations, codes) for each in sides))
    if clients is None:
        ipv4, ipv6 = concatenated(movement[: len(four)]), concatenated(movement[len(four) :])
        return _simulation(sides, ipv4, codes, sessions, name=name, moved_ipv6=_share(ipv6.moved))
    return _simulation(sides, concatenated(movement), codes, sessions, name=name, moved_ipv6=None)


def with_lost_relays(
    status: Status, plan: Plan, relays: Collection[str], regions: Collection[str]
) -> Status:
    """The status with these relays, and all relays of these regions, measured down."""
    down = {
        each.id: RelayStatus(verdict="down", reason="taken as lost")
        for each in plan.document.relays
        if each.id in relays or each.region in regions
    }
    return status.model_copy(update={"relays": {**status.relays, **down}})


def _regions(sides: tuple[SimSide, SimSide]) -> list[str]:
    """The ids of both pools' regions, sorted."""
    return sorted({s.id for side in sides for s in side.steering.topology.pools[side.pool]})


def _rtt(
    side: SimSide, regions: Codes, columns: Ints, weights: Floats, codes: Mapping[str, int]
) -> Rtt:
    """The RTT distribution of the clients that get a region."""
    site_of_code = np.full(len(codes) + 1, NOWHERE, dtype=np.int64)
    for index, site in enumerate(side.steering.topology.pools[side.pool]):
        site_of_code[codes[site.id]] = index
    there = (regions != NOWHERE) & (weights > 0)
    if not there.any():
        return Rtt(mean_ms=None, p50_ms=None, p95_ms=None)
    rtt_us = side.steering.rtt.rtt_us(side.pool)[site_of_code[regions[there]], columns[there]]
    return _distribution(rtt_us, weights[there])


def _distribution(rtt_us: Ints, weights: Floats) -> Rtt:
    counts = np.bincount(rtt_us // _RTT_STEP_US, weights=weights)
    reached = np.cumsum(counts) / counts.sum()
    p50, p95 = (int(np.searchsorted(reached, q)) * _RTT_STEP_US / 1000 for q in (0.5, 0.95))
    mean = float(np.average(rtt_us, weights=weights)) / 1000
    return Rtt(mean_ms=round(mean, 3), p50_ms=p50, p95_ms=p95)


def _simulation(
    sides: tuple[SimSide, SimSide],
    movement: Movement,
    codes: dict[str, int],
    sessions: int | None,
    *,
    name: str,
    moved_ipv6: float | None,
) -> Simulation:
    before, after = sides
    total = float(movement.weights.sum())
    matrix = movement.matrix(len(codes)) / (total or 1.0)
    return Simulation(
        service=name,
        clients=round(total),
        moved=_share(movement.moved),
        lost=_share(matrix[:-1, -1].sum()),
        gained=_share(matrix[-1, :-1].sum()),
        moved_ipv6=moved_ipv6,
        rtt_before=_rtt(before, movement.sources, movement.old_columns, movement.weights, codes),
        rtt_after=_rtt(after, movement.targets, movement.new_columns, movement.weights, codes),
        moves=_moves(matrix, [*codes, None]),
        regions=tuple(
            _load(region, matrix[code].sum(), matrix[:, code].sum(), sides, sessions)
            for region, code in codes.items()
        ),
        countries=_countries(movement, after.steering.topology.geo, total),
    )


def _share(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 6)


def _moves(matrix: Floats, names: Sequence[str | None]) -> tuple[Move, ...]:
    found = [
        Move(source=names[i], target=names[j], share=_share(matrix[i, j]))
        for i, j in np.argwhere(matrix > 0).tolist()
        if i != j
    ]
    return tuple(sorted(found, key=lambda each: -each.share))


def _load(
    region: str, old: float, new: float, sides: tuple[SimSide, SimSide], sessions: int | None
) -> RegionLoad:
    was, now = (side.capacity(region) for side in sides)
    return RegionLoad(
        region=region,
        before=_share(old),
        after=_share(new),
        capacity=now,
        utilisation_before=_utilisation(old, was, sessions),
        utilisation_after=_utilisation(new, now, sessions),
    )


def _utilisation(share: float, capacity: int | None, sessions: int | None) -> float | None:
    if not capacity or sessions is None:
        return None
    return round(float(share) * sessions / capacity, 4)


def _countries(movement: Movement, geo: GeoTable, total: float) -> tuple[CountryMove, ...]:
    known, code = geo.country_codes
    names = [*known, ""]  # for unlocated clients, if the table itself has no ""
    nowhere = names.index("")
    mine = np.full(len(movement.cells), nowhere, dtype=np.int64)
    located = movement.cells != NO_CELL
    mine[located] = code[movement.cells[located]]
    everyone = np.bincount(mine, weights=movement.weights, minlength=len(names))
    movers = np.bincount(mine, weights=movement.weights * movement.moving, minlength=len(names))
    return tuple(
        CountryMove(
            country=names[each],
            share=_share(movers[each] / total),
            of_country=_share(movers[each] / everyone[each]),
        )
        for each in np.argsort(-movers, kind="stable")[:COUNTRIES].tolist()
        if movers[each] > 0
    )
