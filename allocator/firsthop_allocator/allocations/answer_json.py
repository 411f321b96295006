"""The JSON members of an allocation; sessions, tickets and regions use some of them as well.

Members that do not depend on the request are kept as text: json.dumps of a whole answer takes
20 us, though only the credential is new each time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from firsthop_allocator.allocations.route import ClientLocation, Offer, SessionText
from firsthop_geodata.addresses import Address
from firsthop_ice.candidates import candidate_lines
from firsthop_ice.turn import TurnCredential
from firsthop_steering.plan.model import Relay

ICE_LITE = True
"""Neither relays nor transceivers send checks of their own (RFC 8445 §2.5)."""
SDP_MID = "0"
SDP_MLINE_INDEX = 0
"""Media are bundled, so the candidates of the first m-line serve all (RFC 8843 §7.1)."""

_UFRAG, _PASSWORD = "{ufrag}", "{password}"
"""Placeholders for the credential; slugs, addresses and ICE strings contain no braces."""


def dump(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def utc_text(at: datetime) -> str:
    """RFC 3339, to the second; `at` is in UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


@lru_cache(4096)
def utc_text_of(seconds: int) -> str:
    """`utc_text` of a time in seconds since 1970."""
    return utc_text(datetime.fromtimestamp(seconds, UTC))


def location(
    country: str | None = None, latitude: float | None = None, longitude: float | None = None
) -> ClientLocation:
    """The location of a client, with its JSON text."""
    members = {"country": country, "latitude": latitude, "longitude": longitude}
    return ClientLocation(country, latitude, longitude, dump(members)[1:-1])


def client_members(address: Address, source: str, at: ClientLocation) -> dict[str, object]:
    """The object `client`."""
    return {
        "ip": str(address),
        "country": at.country,
        "latitude": at.latitude,
        "longitude": at.longitude,
        "source": source,
    }


def client_text(address: Address, source: str, at: ClientLocation) -> str:
    """The member `client`."""
    return f'"client":{{"ip":"{address}",{at.text},"source":"{source}"}}'


def decision_members(plan: int, status: int, reason: str) -> dict[str, object]:
    """The object `decision`: the numbers of its plan and status, and its reason."""
    return {"plan": plan, "status": status, "reason": reason}


def relay_members(relay: Relay) -> dict[str, object]:
    """The members of an entry of `relays` that depend on the relay alone."""
    members: dict[str, object] = relay.model_dump(
        mode="json", include={"id", "region", "ipv4", "ipv6", "udp_port", "tcp_port"}
    )
    return members


def relays_text(text: SessionText, offers: Sequence[Offer]) -> str:
    """The array `relays`."""
    numbered = zip(text.relays, offers, strict=True)
    objects = (
        f"{opening},{_offer_members(rank, offer)}}}"
        for rank, (opening, offer) in enumerate(numbered, start=1)
    )
    return f"[{','.join(objects)}]"


def _offer_members(rank: int, offer: Offer) -> str:
    """The members that depend on the client as well; formatted by hand, as they vary most."""
    distance = "null" if offer.distance_km is None else offer.distance_km
    since = f'"{utc_text(offer.availability.since)}"' if offer.availability.since else "null"
    return (
        f'"rank":{rank},"rtt_ms":{offer.rtt_ms},"distance_km":{distance},'
        f'"by":"{offer.availability.source}","since":{since}'
    )


def session_text(relays: Sequence[Relay]) -> SessionText:
    """The members that name addresses, split where the credential is inserted."""
    candidates = candidate_lines(relays)
    template = dump(
        {
            "ice_parameters": {
                "username_fragment": _UFRAG,
                "password": _PASSWORD,
                "ice_lite": ICE_LITE,
            },
            "candidates": [_candidate_members(line) for line in candidates],
            "sdp": _sdp_lines(candidates),
        }
    )
    parts = template[1:-1].encode().split(_PASSWORD.encode())
    pieces = tuple(tuple(part.split(_UFRAG.encode())) for part in parts)
    objects = tuple(dump(relay_members(each))[:-1] for each in relays)
    return SessionText(objects, candidates, pieces)


def _candidate_members(line: str) -> dict[str, object]:
    """The members of RTCIceCandidateInit, in snake case."""
    return {
        "candidate": line,
        "sdp_mid": SDP_MID,
        "sdp_mline_index": SDP_MLINE_INDEX,
        "username_fragment": _UFRAG,
    }


def _sdp_lines(candidates: Sequence[str]) -> list[str]:
    """Attribute lines; ice-lite belongs to the session, the others to the media (RFC 8839 §5)."""
    return [
        *(["a=ice-lite"] if ICE_LITE else []),
        f"a=ice-ufrag:{_UFRAG}",
        f"a=ice-pwd:{_PASSWORD}",
        *(f"a={line}" for line in candidates),
        "a=end-of-candidates",
    ]


def ice_server_links(turn: TurnCredential | None, urls: bytes) -> tuple[str, ...]:
    """The values of Link fields, one for each URL (RFC 9725 §4.6); `urls` is a JSON array."""
    if turn is None:
        return ()
    given = f'username="{turn.username}"; credential="{turn.password}"; credential-type="password"'
    return tuple(f'<{url}>; rel="ice-server"; {given}' for url in json.loads(urls))


def ice_servers_text(turn: TurnCredential | None, urls: bytes) -> bytes:
    """The member `ice_servers`, as RTCPeerConnection takes it; `urls` is a JSON array."""
    if turn is None:
        return b'"ice_servers":[]'
    given = f'"username":"{turn.username}","credential":"{turn.password}"'
    return b'"ice_servers":[{"urls":' + urls + f",{given}}}]".encode()
