"""Warnings on services whose regions differ in their address families. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from firsthop_steering.plan.model import Family, Override, Region, Relay, Service, State
from firsthop_zones.faults import DocumentFault

_SEPARATE = "clients with both families use the farther region if they prefer its family"
_TOGETHER = "clients near the former get no address of that family, not even those without another"
_NAMES: dict[Family, str] = {"ipv4": "IPv4", "ipv6": "IPv6"}


def mixed_families(
    services: Iterable[Service],
    overrides: Sequence[Override],
    regions: Iterable[Region],
    relays: Sequence[Relay],
) -> Iterator[DocumentFault]:
    """One warning for each service and family that some of its regions have and others lack, and
    for each override that leaves its clients without a family.

    Resolvers may keep a negative answer for all clients (RFC 7871 §7.4), so an override that leaves
    some without a family can take it away from others.
    """
    active = [each.id for each in regions if each.state is State.ACTIVE and each.weight]
    families: dict[str, set[Family]] = {}
    for relay in relays:
        if relay.region in active and relay.state is State.ACTIVE and relay.weight:
            families.setdefault(relay.region, set()).update(relay.families_in_service)
    for service in services:
        if service.pool == "relays":
            allowed = families if service.regions is None else service.regions
            mine = {each: families[each] for each in allowed if each in families}
            for family in _NAMES:
                yield from _of_family(service, overrides, mine, family)


def _of_family(
    service: Service,
    overrides: Sequence[Override],
    mine: dict[str, set[Family]],
    family: Family,
) -> Iterator[DocumentFault]:
    lacking = sorted(region for region, has in mine.items() if family not in has)
    if not lacking or len(lacking) == len(mine):
        return
    name = _NAMES[family]
    price = _SEPARATE if service.families == "separate" else _TOGETHER
    yield DocumentFault(
        f"services/{service.id}/families",
        f"{', '.join(lacking)} without {name}, others with it: {price}",
    )
    for each in overrides:
        if each.service in (None, service.id) and each.mode == "only":
            left = [region for region in each.regions if region in mine]
            if left and set(left) <= set(lacking):
                rule = f"no {name} for its clients of {service.id}; caches may keep that for all"
                yield DocumentFault(f"overrides/{each.id}/regions", rule)
