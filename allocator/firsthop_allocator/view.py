"""What allocations need of one plan, one status and one key set, laid out ahead of the requests.

A view is never changed: a new snapshot makes a new one, and the holder's one assignment puts it in
place. What depends on few things (the relays of a region and bucket, a distance, the text of a set
of relays, a route) is computed on first use and kept; every such store is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from firsthop_allocator.candidates import candidate_lines
from firsthop_allocator.route import Place, Route, SessionText
from firsthop_steering.decide import Steering
from firsthop_steering.endpoints import domains_apart
from firsthop_steering.model import Relay, Service
from firsthop_steering.rendezvous import races
from firsthop_steering.ufrag import CredentialKeys

ICE_LITE = True
"""Relays and transceivers check nothing of their own; they answer (RFC 8445 §2.5)."""
SDP_MID = "0"
SDP_MLINE_INDEX = 0
"""Media are bundled, so the candidates of the first m-line serve all (RFC 8843 §7.1)."""

_UFRAG, _PASSWORD = "{ufrag}", "{password}"
"""Where the credential goes; no slug, address or ICE character is a brace."""
_ORDERS = 1 << 16  # orders of a region's relays: 32 regions × 1,024 buckets × two outcomes
_PLACES = 1 << 16  # small values; a miss costs 15 us
_RELAY_SETS = 1 << 12  # texts of 3 kB
_ROUTES = 1 << 15  # distinct ones, of 1 kB
_ROUTE_KEYS = 1 << 16  # keys that share them, of 0.2 kB


class AllocatorView:
    """One plan, one status and one key set; see the module."""

    def __init__(self, steering: Steering, keys: CredentialKeys) -> None:
        self.steering = steering
        self.keys = keys
        document = steering.atlas.plan.document
        self.relays = {relay.id: relay for relay in document.relays if relay.kind == "relay"}
        """Only these route by ufrag; a TURN server would not understand the credential."""
        self.region_index = {
            site.id: index for index, site in enumerate(steering.atlas.pools["relays"])
        }
        self.wire_ids = {region.id: region.wire_id for region in document.transceiver_regions}
        steered = [each for each in document.services if each.pool == "relays"]
        self.default_service: Service | None = min(steered, key=lambda each: each.id, default=None)
        """The one that a request without a service is for: the first by id."""
        self.rules = {
            each.id: (steering.rules(each, "relays"), steering.rules(each, "media"))
            for each in steered
        }
        """The overrides in force for a service: for its relays, and for its media."""
        self.routes: dict[Hashable, Route] = {}
        self._distinct: dict[Hashable, Route] = {}
        self.relays_at = lru_cache(_ORDERS)(self._relays_at)
        self.distance_km = lru_cache(_PLACES)(self._distance_km)
        self.place = lru_cache(_PLACES)(self._place)
        self.session_text = lru_cache(_RELAY_SETS)(self._session_text)

    def keep(self, key: Hashable, route: Route) -> Route:
        """Keeps `route` for `key`; returns the one that equal ones share."""
        if len(self.routes) >= _ROUTE_KEYS or len(self._distinct) >= _ROUTES:
            self.routes.clear()
            self._distinct.clear()
        content = (route.service, route.relays, route.decision, route.place)
        shared = self.routes[key] = self._distinct.setdefault(content, route)
        return shared

    def _relays_at(self, region: str, drawn: int, ignore_health: bool) -> tuple[Relay, ...]:
        """The relays of a region in a bucket's order: by weight, failure domains apart first."""
        site = self.steering.atlas.pools["relays"][self.region_index[region]]
        usable = self.steering.usable(site, ignore_health=ignore_health)
        field = [each for each in usable if each.id in self.relays]
        field.sort(key=lambda each: (races(each.id, each.weight)[drawn], each.id))
        return tuple(self.relays[each.id] for each in domains_apart(field))

    def _distance_km(self, region: str, cell: int) -> float:
        """Great circle from a cell to a relay region, to 100 m."""
        site = self.region_index[region]
        return round(self.steering.atlas.distance_km("relays", site, cell), 1)

    def _place(self, cell: int | None) -> Place:
        """The place of a cell; coordinates to 4 decimals, which is 11 m."""
        country, latitude, longitude = None, None, None
        if cell is not None:
            geo = self.steering.atlas.geo
            country = geo.countries[cell] or None
            latitude = round(float(geo.latitudes[cell]), 4)
            longitude = round(float(geo.longitudes[cell]), 4)
        members = {"country": country, "latitude": latitude, "longitude": longitude}
        return Place(country, latitude, longitude, _dump(members)[1:-1])

    def _session_text(self, relay_ids: tuple[str, ...]) -> SessionText:
        relays = [self.relays[each] for each in relay_ids]
        candidates = candidate_lines(relays)
        template = _dump(
            {
                "ice_parameters": {
                    "username_fragment": _UFRAG,
                    "password": _PASSWORD,
                    "ice_lite": ICE_LITE,
                },
                "candidates": [_candidate_object(line) for line in candidates],
                "sdp": _sdp_lines(candidates),
            }
        )
        pieces = tuple(tuple(part.split(_UFRAG)) for part in template[1:-1].split(_PASSWORD))
        return SessionText(tuple(map(_relay_object, relays)), candidates, pieces)


@dataclass(slots=True)
class Holder:
    """Where the application finds the view in force; swapped by one assignment."""

    view: AllocatorView | None = None
    reason: str = "no snapshot has arrived yet"
    """Why there is no view, for readiness."""


def _candidate_object(line: str) -> dict[str, object]:
    """What a browser takes as RTCIceCandidateInit, in snake case."""
    return {
        "candidate": line,
        "sdp_mid": SDP_MID,
        "sdp_mline_index": SDP_MLINE_INDEX,
        "username_fragment": _UFRAG,
    }


def _sdp_lines(candidates: tuple[str, ...]) -> list[str]:
    """Attribute lines; ice-lite belongs to the session, the others to the media (RFC 8839 §5)."""
    return [
        *(["a=ice-lite"] if ICE_LITE else []),
        f"a=ice-ufrag:{_UFRAG}",
        f"a=ice-pwd:{_PASSWORD}",
        *(f"a={line}" for line in candidates),
        "a=end-of-candidates",
    ]


def _relay_object(relay: Relay) -> str:
    members = relay.model_dump(
        mode="json", include={"id", "region", "ipv4", "ipv6", "udp_port", "tcp_port"}
    )
    return _dump(members)[:-1]


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
