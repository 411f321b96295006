"""The rule `min_candidates`: no group of clients may depend on too few failure domains.

A service's clients are grouped by the override that applies to them; clients without an override
form a group too. A relay without a `failure_domain` is a domain of its own, and so is every
transceiver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from firsthop_steering.plan.model import (
    Override,
    Region,
    Relay,
    Service,
    Transceiver,
    TransceiverRegion,
)
from firsthop_zones.faults import DocumentFault


class DomainLocation(NamedTuple):
    """A failure domain in a region; a domain may span several regions."""

    region: str
    domain: str


def impossible(
    services: Iterable[Service],
    overrides: Iterable[Override],
    relays: tuple[Iterable[Region], Iterable[Relay]],
    transceivers: tuple[Iterable[TransceiverRegion], Iterable[Transceiver]],
) -> Iterator[DocumentFault]:
    """Faults of services that lack failure domains even if everything is up and active.

    Overrides that expire are ignored; the status warns about their effects.
    """
    lasting = [each for each in overrides if each.expires_at is None]
    ids = {
        "relays": {each.id for each in relays[0]},
        "transceivers": {each.id for each in transceivers[0]},
    }
    locations = {
        "relays": [
            DomainLocation(each.region, each.failure_domain or each.id) for each in relays[1]
        ],
        "transceivers": [DomainLocation(each.region, each.id) for each in transceivers[1]],
    }
    for service in services:
        pool = service.pool
        yield from short_of(service, lasting, ids[pool], locations[pool], "there are")


def short_of(
    service: Service,
    overrides: Iterable[Override],
    regions: Collection[str],
    locations: Sequence[DomainLocation],
    there_are: str,
) -> Iterator[DocumentFault]:
    """One fault per group of clients with fewer failure domains than `min_candidates`.

    `regions` are all regions of the pool, `locations` the domains that may answer. `there_are`
    precedes the count in the message.
    """
    wanted = service.min_candidates
    if wanted == 1:
        return  # if there is no candidate at all, `when_all_down` applies
    allowed = service.regions
    mine = [each for each in locations if allowed is None or each.region in allowed]
    groups: list[tuple[str, Callable[[DomainLocation], bool]]] = [("all clients", lambda _: True)]
    for override in overrides:
        speaks = override.service in (None, service.id) and set(regions) & set(override.regions)
        if speaks and override.mode != "prefer":
            groups.append((f"clients of override {override.id}", _admits(override)))
    for clients, admits in groups:
        count = len({each.domain for each in mine if admits(each)})
        if count < wanted:
            yield DocumentFault(
                f"services/{service.id}/min_candidates",
                f"for {clients} {there_are} {count} failure domains; {wanted} are required",
            )


def _admits(override: Override) -> Callable[[DomainLocation], bool]:
    only = override.mode == "only"
    return lambda location: (location.region in override.regions) == only
