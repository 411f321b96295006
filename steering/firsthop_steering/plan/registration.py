"""What a transceiver says of where it is, and what of that may enter the plan.

The plan's table of transceivers is an allow-list: relays send to what stands in it and to nothing
else. So a registration adds or moves only what itself registered, in the region of its token, and
only to addresses in that region's `networks`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from pydantic import Field

from firsthop_steering.plan.model import Port, Slug, Transceiver, TransceiverRegion, WireId
from firsthop_zones.faults import DocumentFault
from firsthop_zones.model import Model

MAX_REGISTERED = 256
"""Of one region: whoever steals a region's token fills neither plan nor route table, and as each
stays for a day, uses up no more of the 65,535 wire ids than this in a day."""
_SAID = ("host", "port", "signalling_ipv4", "signalling_ipv6", "signalling_port", "capacity")


class Registration(Model):
    """Where one transceiver is, and what it can carry."""

    region: Slug
    """The transceiver region that its token is for."""
    host: IPv4Address | IPv6Address
    """Where relays send media."""
    port: Port
    signalling_ipv4: IPv4Address | None = None
    signalling_ipv6: IPv6Address | None = None
    signalling_port: Port | None = None
    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: not known."""
    wire_id: WireId | None = None
    """The one it has, if it knows; null: to be told."""


def problems_of(
    given: Registration, region: TransceiverRegion, present: Transceiver | None
) -> Iterator[DocumentFault]:
    """Why `given` cannot be entered in its region; `present` is who has that id already.

    A field is named by its name in the registration, and an id that is another's by `id`.
    """
    if present is not None and present.region != region.id:
        yield DocumentFault("id", f"is a transceiver of region {present.region}")
        return
    if present is not None and given.wire_id not in (None, present.wire_id):
        yield DocumentFault("wire_id", f"is {present.wire_id}, and credentials in use name it")
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

    What operators configured stays as it is, and so do weight and state of all.
    """
    if present is None:
        return Transceiver(id=name, registered=True, **dict(given))
    if not present.registered:
        return present
    return present.model_copy(update={each: getattr(given, each) for each in _SAID})


def _differing(given: Registration, present: Transceiver) -> Iterator[str]:
    """The addresses that are not as configured; what it can carry is for it to say."""
    for name in _SAID:
        if name != "capacity" and getattr(given, name) != getattr(present, name):
            yield name
