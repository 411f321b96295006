"""A cheap check before a simulation: which services the change could re-route."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Endpoint
from firsthop_steering.plan.model import Family, Service


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
    field = steering.candidates_up(service, pool)
    sites = tuple(
        (
            site.id, site.latitude, site.longitude, site.weight, site.bias_us, site.state,
            bool(field.up[index]), bool(field.configured[index]), bool(field.drained[index]),
            field.weights[index], _families(field.up[index]), _families(field.drained[index]),
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


def _families(endpoints: Iterable[Endpoint]) -> frozenset[Family]:
    """The families of their addresses: each may be steered by itself."""
    return frozenset(f for each in endpoints for f in FAMILIES if getattr(each, f) is not None)
