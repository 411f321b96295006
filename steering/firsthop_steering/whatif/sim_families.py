"""What it costs to steer the two address families of a service separately, or together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from firsthop_steering.arrays import Floats, Ints
from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.whatif.sim_movement import concatenated, movements_of, share
from firsthop_steering.whatif.sim_population import SimPopulation
from firsthop_steering.whatif.sim_side import NOWHERE, Codes, SimSide
from firsthop_steering.whatif.simulation import FamilyCosts


def family_costs(
    side: SimSide, populations: Sequence[SimPopulation], codes: Mapping[str, int]
) -> FamilyCosts | None:
    """The costs of both settings of `families`; None if all regions have the same families."""
    if side.service is None or not side.families_differ:
        return None
    together = side.sends(populations, codes)
    four, six = (side.only(family).sends(populations, codes) for family in FAMILIES)
    apart = concatenated(movements_of(populations, four, six))
    no_ipv4, no_ipv6 = (
        concatenated(movements_of(populations, together, each)) for each in (four, six)
    )
    more_us = _rtt_us(side, apart.targets, apart.new_columns, codes)
    more_us -= _rtt_us(side, apart.sources, apart.old_columns, codes)
    farther = (apart.sources != NOWHERE) & (apart.targets != NOWHERE) & (more_us > 0)
    weights, geo = apart.weights, side.steering.topology.geo
    return FamilyCosts(
        setting=side.service.families,
        farther_ipv6=share(weights[farther].sum() / (weights.sum() or 1.0)),
        farther_ipv6_ms=_mean_ms(more_us[farther], weights[farther]),
        farther_ipv6_countries=apart.countries(geo),
        without_ipv4=share(no_ipv4.moved),
        without_ipv6=share(no_ipv6.moved),
        without_ipv6_countries=no_ipv6.countries(geo),
    )


def _mean_ms(values_us: Ints, weights: Floats) -> float | None:
    if not weights.any():
        return None
    return round(float(np.average(values_us, weights=weights)) / 1000, 3)


def _rtt_us(side: SimSide, regions: Codes, columns: Ints, codes: Mapping[str, int]) -> Ints:
    """The round trip of each client to its region; of no meaning for clients without one."""
    site_of_code = np.zeros(len(codes) + 1, dtype=np.int64)
    for index, site in enumerate(side.steering.topology.pools[side.pool]):
        site_of_code[codes[site.id]] = index
    found: Ints = side.steering.rtt.rtt_us(side.pool)[site_of_code[regions], columns]
    return found
