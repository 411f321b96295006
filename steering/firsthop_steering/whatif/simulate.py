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

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision import availability
from firsthop_steering.decision.decide import Steering
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status
from firsthop_steering.whatif.sim_families import family_costs
from firsthop_steering.whatif.sim_movement import Movement, concatenated, movements_of, share
from firsthop_steering.whatif.sim_population import (
    SimPopulation,
    listed_population,
    whole_population,
)
from firsthop_steering.whatif.sim_side import NOWHERE, Codes, SimSide
from firsthop_steering.whatif.simulation import Move, RegionLoad, Rtt, Simulation

FAMILIES: tuple[Literal[4, 6], ...] = (4, 6)
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
    ipv4, ipv6 = _movements(sides, four, six, codes)
    costs = family_costs(sides[1], four if clients is None else (*four, *six), codes)
    if clients is None:
        moved_ipv6: float | None = share(concatenated(ipv6).moved)
    else:
        ipv4, moved_ipv6 = [*ipv4, *ipv6], None
    found = _simulation(
        sides, concatenated(ipv4), codes, sessions, name=name, moved_ipv6=moved_ipv6
    )
    return found.model_copy(update={"families": costs})


def _movements(
    sides: tuple[SimSide, SimSide],
    four: tuple[SimPopulation, ...],
    six: tuple[SimPopulation, ...],
    codes: Mapping[str, int],
) -> tuple[list[Movement], list[Movement]]:
    """The movement of clients with IPv4 and with IPv6 addresses, each asking for its own family."""
    if any(each.separates for each in sides):
        v4, v6 = (tuple(each.asked(family) for each in sides) for family in availability.FAMILIES)
        return (
            movements_of(four, *(each.sends(four, codes) for each in v4)),
            movements_of(six, *(each.sends(six, codes) for each in v6)),
        )
    whole = (*four, *six)
    movement = movements_of(whole, *(each.sends(whole, codes) for each in sides))
    return movement[: len(four)], movement[len(four) :]


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
        moved=share(movement.moved),
        lost=share(matrix[:-1, -1].sum()),
        gained=share(matrix[-1, :-1].sum()),
        moved_ipv6=moved_ipv6,
        rtt_before=_rtt(before, movement.sources, movement.old_columns, movement.weights, codes),
        rtt_after=_rtt(after, movement.targets, movement.new_columns, movement.weights, codes),
        moves=_moves(matrix, [*codes, None]),
        regions=tuple(
            _load(region, matrix[code].sum(), matrix[:, code].sum(), sides, sessions)
            for region, code in codes.items()
        ),
        countries=movement.countries(after.steering.topology.geo),
    )


def _moves(matrix: Floats, names: Sequence[str | None]) -> tuple[Move, ...]:
    found = [
        Move(source=names[i], target=names[j], share=share(matrix[i, j]))
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
        before=share(old),
        after=share(new),
        capacity=now,
        utilisation_before=_utilisation(old, was, sessions),
        utilisation_after=_utilisation(new, now, sessions),
    )


def _utilisation(share: float, capacity: int | None, sessions: int | None) -> float | None:
    if not capacity or sessions is None:
        return None
    return round(float(share) * sessions / capacity, 4)
