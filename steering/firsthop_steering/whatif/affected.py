"""A cheap check before a simulation: which services the change could re-route."""

from __future__ import annotations

from collections.abc import Hashable

from firsthop_steering.decision.candidates_up import families_of
from firsthop_steering.decision.decide import Steering
from firsthop_steering.plan.model import Service


def affected(before: Steering, after: Steering) -> tuple[str, ...]:
    """Names of the services whose inputs to the choice of a region differ.

    Both steerings must share the geo table, prices and learned round trips.
    """
    old, new = _services(before), _services(after)
    names = sorted(old.keys() | new.keys())
    return tuple(each for each in names if old.get(each) != new.get(each))


def _services(steering: Steering) -> dict[str, Hashable]:
    return {each.name: _inputs(steering, each) for each in steering.topology.services.values()}


def _inputs(steering: Steering, service: Service) -> Hashable:
    pool = service.answer_pool
    available = steering.candidates_up(service, pool)
    sites = tuple(
        (
            site.id, site.latitude, site.longitude, site.weight, site.bias_us, site.state,
            bool(available.up[index]), bool(available.configured[index]),
            bool(available.drained[index]), available.weights[index],
            families_of(available.up[index]), families_of(available.drained[index]),
        )
        for index, site in enumerate(steering.topology.pools[pool])
    )  # fmt: skip
    return (
        pool,
        service.families,
        service.regions,
        service.when_all_down,
        steering.rules(service, pool),
        sites,
    )
