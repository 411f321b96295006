"""The values of a route: where a session goes, and the text that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firsthop_steering.decision.availability import Availability
from firsthop_steering.plan.model import Relay


@dataclass(frozen=True, slots=True)
class AllocationRefused:
    """Why there is no allocation: the request's fault if `field` says where, else ours."""

    reason: Literal[
        "unknown_service", "pin_refused", "all_excluded",
        "no_relay", "no_transceiver_region", "no_wire_id", "clock",
    ]  # fmt: skip
    field: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class ClientLocation:
    """Where a client is, as an answer says it; all null when it cannot be located."""

    country: str | None
    latitude: float | None
    longitude: float | None
    text: str
    """The same as JSON members."""


@dataclass(frozen=True, slots=True)
class SessionText:
    """The part of an answer that names addresses, cut where the credential goes in."""

    relays: tuple[str, ...]
    """A JSON object for each relay, open at its end for what depends on the client."""
    candidates: tuple[str, ...]
    """The candidate-attributes (RFC 8839 §5.1), without `a=`."""
    pieces: tuple[tuple[bytes, ...], ...]
    """The JSON members ice_parameters, candidates and sdp: cut at the password, then the ufrag."""

    def members(self, ufrag: bytes, password: bytes) -> bytes:
        """The JSON members with the credential in its places."""
        return password.join([ufrag.join(parts) for parts in self.pieces])


@dataclass(frozen=True, slots=True)
class Offer:
    """One relay of an answer; the first is the best."""

    relay: Relay
    rtt_ms: float
    distance_km: float | None
    """None where the client cannot be located."""
    availability: Availability
    """Why it is offered: whose word that is, and since when."""


@dataclass(frozen=True, slots=True)
class SessionRoute:
    """All of an answer that is not the session's own."""

    service: str
    offers: tuple[Offer, ...]
    transceiver_region: str
    wire_id: int
    location: ClientLocation
    reason: str
    explored: tuple[str, ...]
    """Regions of the last relays, which are there to be learned of."""
    text: SessionText
    relays: bytes
    """The JSON members relays and transceiver_region."""
    decision: bytes
    """The JSON member decision."""
    entry: str
    """The region of the first relay, or of the first TURN server where there is none."""
    turn_urls: bytes
    """The URLs of TURN servers as a JSON array (RFC 7065); empty where there are none."""
