"""Where a session goes: the relays that a client is offered, and the transceiver region behind them.

Regions are chosen by `firsthop_steering.decide`, exactly as for DNS; this module turns two decisions
into a `Route`. A route depends on the client's cell, its bucket and the overrides that match it, so
the view keeps it under these; a test holds kept routes to fresh ones. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from firsthop_allocator.view import AllocatorView, Place, SessionText
from firsthop_steering.atlas import Client
from firsthop_steering.decide import Candidate, Decision
from firsthop_steering.model import Relay, Service
from firsthop_steering.rendezvous import bucket

MAX_RELAYS = 3
"""Answers of the system that Firsthop follows carry three, so that a client races them."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no allocation: the request's fault if `field` says where, else ours."""

    reason: Literal[
        "unknown_service", "pin_refused", "all_excluded",
        "no_relay", "no_transceiver_region", "no_wire_id", "clock",
    ]  # fmt: skip
    field: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One relay of an answer; the first is the best."""

    relay: Relay
    rtt_ms: float
    distance_km: float | None
    """None where the client cannot be located."""


@dataclass(frozen=True, slots=True)
class Route:
    """All of an answer that is not the session's own."""

    service: str
    offers: tuple[Offer, ...]
    transceiver_region: str
    wire_id: int
    place: Place
    reason: str
    text: SessionText
    head: str
    """JSON members of relays and transceiver_region."""
    tail: str
    """The JSON member decision."""


def find_route(
    view: AllocatorView,
    service: Service,
    client: Client,
    *,
    pinned: str | None,
    excluded: frozenset[str],
) -> Route | Refused:
    """The route of `client`; `pinned` names a transceiver region, `excluded` relays."""
    if excluded:
        return _fresh(view, service, client, pinned, excluded)
    key = (
        service.id,
        client.cell,
        bucket(client.family, client.key),
        _override(view, service, client),
        pinned,
    )
    route = view.routes.get(key)
    if route is None:
        fresh = _fresh(view, service, client, pinned, excluded)
        if isinstance(fresh, Refused):
            return fresh
        route = view.keep(key, fresh)
    return route


def _override(view: AllocatorView, service: Service, client: Client) -> tuple[str, ...]:
    """The ids of the overrides that speak of this client: for the relays, for the media."""
    return tuple(
        next((rule.id for rule in rules if rule.matches(client)), "")
        for rules in view.rules(service)
    )
