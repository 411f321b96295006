"""Registration of transceivers: what they announce, and which part of it may enter the plan.

The plan's list of transceivers is an allow-list of the addresses to which relays send. A
registration therefore only adds or changes transceivers that registered themselves, in the region
of their token, with addresses in that region's `networks`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from firsthop_steering.plan.model import (
    IpAddress,
    Ipv4,
    Ipv6,
    Port,
    Slug,
    Transceiver,
    TransceiverRegion,
    WireId,
)
from firsthop_zones.faults import DocumentFault
from firsthop_zones.model import Model

MAX_REGISTERED = 256
"""Maximum number of registered transceivers per region. It limits the damage that a stolen token
can do: plan and route table stay small, and since an entry lasts a day, at most this many of the
65,535 wire ids are used per day."""
_ANNOUNCED = ("host", "port", "signalling_ipv4", "signalling_ipv6", "signalling_port", "capacity")


class Registration(Model):
    """One transceiver's addresses and capacity."""

    region: Slug
    """The transceiver region of its token."""
    host: IpAddress
    """The address to which relays send media."""
    port: Port
    signalling_ipv4: Ipv4 | None = None
    signalling_ipv6: Ipv6 | None = None
    signalling_port: Port | None = None
    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: not known."""
    wire_id: WireId | None = None
    """Its wire id, if it has one; null: to be assigned."""


def problems_of(
    given: Registration, region: TransceiverRegion, present: Transceiver | None
) -> Iterator[DocumentFault]:
    """Why `given` cannot be registered in its region; `present` is the transceiver with this id.

    A fault names a field of the registration, or `id` if the id belongs to another region.
    """
    if present is not None and present.region != region.id:
        yield DocumentFault("id", f"is a transceiver of region {present.region}")
        return
    if present is not None and given.wire_id not in (None, present.wire_id):
        yield DocumentFault(
            "wire_id", f"must stay {present.wire_id}, which credentials in use contain"
        )
    if present is not None and not present.registered:
        for name in _differing(given, present):
            yield DocumentFault(name, f"is configured by operators as {getattr(present, name)}")
        return
    if not region.networks:
        yield DocumentFault(
            "region", f"{region.id} has no networks in which transceivers may register"
        )
        return
    for name in ("host", "signalling_ipv4", "signalling_ipv6"):
        address = getattr(given, name)
        if address is not None and not any(address in each for each in region.networks):
            yield DocumentFault(
                name, f"{address} lies in none of the networks of region {region.id}"
            )


def entered(name: str, given: Registration, present: Transceiver | None) -> Transceiver:
    """The plan's transceiver `name` after a registration without problems.

    A transceiver configured by operators is unchanged; weight and state are never changed.
    """
    if present is None:
        return Transceiver(id=name, registered=True, **dict(given))
    if not present.registered:
        return present
    return present.model_copy(update={each: getattr(given, each) for each in _ANNOUNCED})


def _differing(given: Registration, present: Transceiver) -> Iterator[str]:
    """Names of the fields other than capacity that differ from the configuration."""
    for name in _ANNOUNCED:
        if name != "capacity" and getattr(given, name) != getattr(present, name):
            yield name
