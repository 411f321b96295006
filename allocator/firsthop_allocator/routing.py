"""Where a session goes: the relays that a client is offered, and the transceiver region.

Regions are chosen by `firsthop_steering.decide`, exactly as for DNS; this module turns two of its
decisions into a `Route`. A route depends on the client's cell, its bucket and the overrides that
match it, so the view keeps it under these; a test holds kept routes to fresh ones. Pure.

Fallback addresses of a service are for DNS: they have no port and route no ufrag, so here
`when_all_down: fallback` means closed.
"""

from __future__ import annotations

import json

from firsthop_allocator.route import Offer, Refused, Route
from firsthop_allocator.view import AllocatorView
from firsthop_steering.atlas import Client
from firsthop_steering.decision import Candidate, Decision
from firsthop_steering.model import Service
from firsthop_steering.rendezvous import bucket

MAX_RELAYS = 3
"""Answers of the system that Firsthop follows carry three, so that a client races them."""

_NONE: frozenset[str] = frozenset()


def steered_service(view: AllocatorView, wanted: str | None) -> Service | Refused:
    """The service of that id or name, or the default one; its pool is relays."""
    if wanted is None:
        return view.default_service or Refused(
            "no_relay", None, "the plan has no service whose pool is relays"
        )
    service = view.steering.atlas.service(wanted)
    if service is None:
        return Refused("unknown_service", "service", "names no service")
    if service.pool != "relays":
        rule = f"the pool of {service.id} is {service.pool}; allocations need one of relays"
        return Refused("unknown_service", "service", rule)
    return service


def find_route(
    view: AllocatorView,
    service: Service,
    client: Client,
    *,
    pinned: str | None = None,
    excluded: frozenset[str] = _NONE,
) -> Route | Refused:
    """The route of `client`; `pinned` names a transceiver region, `excluded` relays."""
    if excluded:
        return fresh_route(view, service, client, pinned, excluded)
    drawn = bucket(client.family, client.key)
    key = service.id, client.cell, drawn, _overrides(view, service, client), pinned
    route = view.routes.get(key)
    if route is not None:
        return route
    fresh = fresh_route(view, service, client, pinned, excluded)
    return fresh if isinstance(fresh, Refused) else view.keep(key, fresh)


def _overrides(view: AllocatorView, service: Service, client: Client) -> tuple[str, ...]:
    """The ids of the overrides that speak of this client: to the relays, to the media."""
    relays, media = view.rules[service.id]
    if not relays and not media:
        return ()
    return tuple(
        next((rule.id for rule in rules if rule.matches(client)), "") for rules in (relays, media)
    )


def fresh_route(
    view: AllocatorView,
    service: Service,
    client: Client,
    pinned: str | None,
    excluded: frozenset[str],
) -> Route | Refused:
    """`find_route` without its memory."""
    decision = view.steering.decide(service, client)
    if decision.site is None:
        return Refused("no_relay", None, f"service {service.id}: {decision.reason}")
    offers = _offers(view, decision, excluded)
    if not offers:
        return _nothing_to_offer(service, excluded)
    entry = view.region_index[offers[0].relay.region]
    media = _media_region(view.steering.decide_media(service, client, entry), pinned)
    if isinstance(media, Refused):
        return media
    wire_id = view.wire_ids[media]
    if wire_id is None:
        rule = f"transceiver region {media} has no wire id in plan {decision.plan}"
        return Refused("no_wire_id", None, rule)
    return _route(view, decision, offers, media, wire_id)


def _route(
    view: AllocatorView,
    decision: Decision,
    offers: tuple[Offer, ...],
    media: str,
    wire_id: int,
) -> Route:
    text = view.session_text(tuple(offer.relay.id for offer in offers))
    relays = ",".join(
        f"{opening},{_numbers(rank, offer)}}}"
        for rank, (opening, offer) in enumerate(zip(text.relays, offers, strict=True), start=1)
    )
    reason = _reason(decision, offers)
    note = {"plan": decision.plan, "status": decision.status, "reason": reason}
    return Route(
        decision.service.id,
        offers,
        media,
        wire_id,
        view.place(decision.client.cell),
        reason,
        text,
        f'"relays":[{relays}],"transceiver_region":"{media}"',
        f'"decision":{json.dumps(note, separators=(",", ":"))}',
    )


def _numbers(rank: int, offer: Offer) -> str:
    distance = "null" if offer.distance_km is None else offer.distance_km
    return f'"rank":{rank},"rtt_ms":{offer.rtt_ms},"distance_km":{distance}'


def _reason(decision: Decision, offers: tuple[Offer, ...]) -> str:
    """Why these relays; `exclude_relays` may have emptied the region that was chosen."""
    assert decision.site is not None
    if offers[0].relay.region == decision.site.id:
        return decision.reason
    return f"{decision.reason}; no relay of {decision.site.id} is left for this request"


def _offers(view: AllocatorView, decision: Decision, excluded: frozenset[str]) -> tuple[Offer, ...]:
    """The first relays of the chosen region, then of those that the client would ask next.

    Regions that it asked before come last: their weight did not keep it.
    """
    assert decision.chosen is not None
    walk, chosen, cell = decision.walk, decision.chosen, decision.client.cell
    ignore_health = decision.ranking.outcome == "open"
    offers: list[Offer] = []
    for candidate in (*walk[chosen:], *walk[:chosen]):
        region = candidate.site.id
        for relay in view.relays_at(region, decision.bucket, ignore_health):
            if relay.id in excluded:
                continue
            distance = None if cell is None else view.distance_km(region, cell)
            offers.append(Offer(relay, candidate.rtt_ms, distance))
            if len(offers) == MAX_RELAYS:
                return tuple(offers)
    return tuple(offers)


def _nothing_to_offer(service: Service, excluded: frozenset[str]) -> Refused:
    if excluded:
        rule = f"rules out every relay that service {service.id} could offer now"
        return Refused("all_excluded", "exclude_relays", rule)
    return Refused("no_relay", None, f"service {service.id}: no relay routes by ufrag")


def _media_region(decision: Decision, pinned: str | None) -> str | Refused:
    """The id of the transceiver region that takes the session."""
    if pinned is not None:
        candidate = _candidate(decision, pinned)
        if candidate is None:
            return Refused("pin_refused", "transceiver_region", "names no transceiver region")
        if candidate.dropped:
            rule = f"{pinned} takes no sessions: {candidate.dropped}"
            return Refused("pin_refused", "transceiver_region", rule)
        return pinned
    if decision.site is None:
        return Refused("no_transceiver_region", None, "no transceiver region takes sessions now")
    return decision.site.id


def _candidate(decision: Decision, region: str) -> Candidate | None:
    return next((each for each in decision.ranking.candidates if each.site.id == region), None)
