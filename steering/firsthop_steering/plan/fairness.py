"""`min_candidates`: that no group of clients hangs on one failure domain.

A service's clients are grouped by the override that speaks of them, and those of whom none speaks
are a group too. What fails together is a relay's `failure_domain`, or the relay alone; of the pool
of transceivers each is alone.
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
    """Where a failure domain is; a domain may have several."""

    region: str
    domain: str


def impossible(
    services: Iterable[Service],
    overrides: Iterable[Override],
    relays: tuple[Iterable[Region], Iterable[Relay]],
    transceivers: tuple[Iterable[TransceiverRegion], Iterable[Transceiver]],
) -> Iterator[DocumentFault]:
    """Services that could not have enough if everything were up and active.

    Overrides that end by themselves are not looked at: what they do is for the status to tell.
    """
    lasting = [each for each in overrides if each.expires_at is None]
    ids = {
        "relays": {each.id for each in relays[0]},
        "transceivers": {each.id for each in transceivers[0]},
    }
    places = {
        "relays": [
            DomainLocation(each.region, each.failure_domain or each.id) for each in relays[1]
        ],
        "transceivers": [DomainLocation(each.region, each.id) for each in transceivers[1]],
    }
    for service in services:
        pool = service.pool
        yield from short_of(service, lasting, ids[pool], places[pool], "there are")


def short_of(
    service: Service,
    overrides: Iterable[Override],
    regions: Collection[str],
    places: Sequence[DomainLocation],
    there_are: str,
) -> Iterator[DocumentFault]:
    """One problem a group that has fewer failure domains than the service wants.

    `regions` are all of the pool, `places` what may answer there.
    """
    wanted = service.min_candidates
    if wanted == 1:
        return  # with none at all `when_all_down` speaks
    allowed = service.regions
    mine = [each for each in places if allowed is None or each.region in allowed]
    groups: list[tuple[str, Callable[[DomainLocation], bool]]] = [("all clients", lambda _: True)]
    for override in overrides:
        speaks = override.service in (None, service.id) and set(regions) & set(override.regions)
        if speaks and override.mode != "prefer":
            groups.append((f"clients of override {override.id}", _admits(override)))
    for who, admits in groups:
        count = len({each.domain for each in mine if admits(each)})
        if count < wanted:
            yield DocumentFault(
                f"services/{service.id}/min_candidates",
                f"for {who} {there_are} {count} failure domains, and {wanted} are wanted",
            )


def _admits(override: Override) -> Callable[[DomainLocation], bool]:
    only = override.mode == "only"
    return lambda place: (place.region in override.regions) == only
