"""The values of a route: where a session goes, with the prepared JSON of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firsthop_steering.decision.availability import Availability
from firsthop_steering.plan.model import Relay


@dataclass(frozen=True, slots=True)
class AllocationRefused:
    """Why there is no allocation: the request is at fault if `field` is set, else the server."""

    reason: Literal[
        "unknown_service", "pin_refused", "all_excluded",
        "no_relay", "no_transceiver_region", "no_wire_id", "clock",
    ]  # fmt: skip
    field: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class ClientLocation:
    """The location of a client in an answer; all None if it cannot be located."""

    country: str | None
    latitude: float | None
    longitude: float | None
    text: str
    """The other fields as JSON members."""


@dataclass(frozen=True, slots=True)
class SessionText:
    """The part of an answer that names addresses, split where the credential is inserted."""

    relays: tuple[str, ...]
    """Per relay the start of its JSON object, to which members that depend on the client are
    appended."""
    candidates: tuple[str, ...]
    """The candidate-attributes (RFC 8839 §5.1), without `a=`."""
    pieces: tuple[tuple[bytes, ...], ...]
    """The JSON members ice_parameters, candidates and sdp, split at the password; each part is
    split at the ufrag."""

    def members(self, ufrag: bytes, password: bytes) -> bytes:
        """The JSON members with the credential inserted."""
        return password.join([ufrag.join(parts) for parts in self.pieces])


@dataclass(frozen=True, slots=True)
class Offer:
    """One relay of an answer, which lists the best relay first."""

    relay: Relay
    rtt_ms: float
    distance_km: float | None
    """None if the client cannot be located."""
    availability: Availability
    """Its health: which source decided it, and since when."""


@dataclass(frozen=True, slots=True)
class SessionRoute:
    """The part of an answer that sessions of similar clients share."""

    service: str
    offers: tuple[Offer, ...]
    transceiver_region: str
    wire_id: int
    location: ClientLocation
    reason: str
    explored: tuple[str, ...]
    """Regions of the relays at the end of `offers`, which are offered only to be measured."""
    text: SessionText
    relays: bytes
    """The JSON members relays and transceiver_region."""
    decision: bytes
    """The JSON member decision."""
    entry: str
    """The region of the first relay; if there is no relay, of the first TURN server."""
    turn_urls: bytes
    """The URLs of TURN servers as a JSON array (RFC 7065); empty if there are none."""
