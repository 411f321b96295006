"""One allocation: relays and a credential for one session. Pure; time and chance are arguments.

    service → decide → relays → transceiver region → credential

Regions are chosen by `firsthop_steering.decide`, exactly as for DNS. Fallback addresses of a
service are for DNS: they have no port and route no ufrag, so here `fallback` means closed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from firsthop_allocator.view import AllocatorView, Place, SessionText
from firsthop_steering import ufrag
from firsthop_steering.decision import Candidate, Decision
from firsthop_steering.model import Relay, Service
from firsthop_steering.ufrag import Credential

MAX_RELAYS = 3
"""Answers of the system that Firsthop follows carry three, so that a client races them."""
DEFAULT_TTL_S = 3600
"""Long enough for a call set-up that was put off; a flow outlives its credential anyway."""
MIN_TTL_S = 60
"""Below this a slow client, or one whose clock is read wrongly, finds it expired."""
MAX_TTL_S = 86_400
"""A leaked credential opens flows for a day at most; keys are kept for longer than that."""
MAX_EXCLUDED = 64
"""Relays that one request may rule out: more than a client can have tried."""
ID_ENTROPY_LENGTH = 12
ENTROPY_LENGTH = ufrag.ENTROPY_LENGTH + ID_ENTROPY_LENGTH

Source = Literal["client_ip", "peer", "forwarded", "x-forwarded-for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """What is asked for; `ttl` in seconds, within MIN_TTL_S and MAX_TTL_S."""

    address: IPv4Address | IPv6Address
    """The client's, and not IPv4 in disguise."""
    source: Source
    """Who said so."""
    service: str | None = None
    """Id or domain name; null: the first service by id whose pool is relays."""
    ttl: int = DEFAULT_TTL_S
    transceiver_region: str | None = None
    """Ends the session there, and nowhere else."""
    exclude_relays: frozenset[str] = frozenset()
    """Ids that the client found to be unreachable; unknown ones rule out nothing."""


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
    """One relay of an answer; `rank` counts from 1."""

    relay: Relay
    rank: int
    rtt_ms: float
    distance_km: float | None
    """None where the client cannot be located."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a client gets; `to_json` is the body of the answer."""

    id: str
    created_at: datetime
    ttl: int
    request: AllocationRequest
    place: Place
    offers: tuple[Offer, ...]
    transceiver_region: str
    credential: Credential
    decision: Decision
    text: SessionText

    @property
    def reason(self) -> str:
        """Why these relays."""
        site = self.decision.site
        if site is None or self.offers[0].relay.region == site.id:
            return self.decision.reason
        return f"{self.decision.reason}; no relay of {site.id} is left for this request"

    def to_json(self) -> bytes:
        """The response of design §6 as UTF-8."""
        # By hand: json.dumps of the same value takes 20 us, and only the credential is new.
        credential, decision = self.credential, self.decision
        return (
            f'{{"id":"{self.id}","created_at":"{_rfc3339(self.created_at)}",'
            f'"expires_at":"{_rfc3339(credential.expires_at)}","ttl":{self.ttl},'
            f'"client":{{"ip":"{self.request.address}",{self.place.text},'
            f'"source":"{self.request.source}"}},"relays":[{self._relays()}],'
            f'"transceiver_region":"{self.transceiver_region}",'
            f"{self.text.members(credential.ufrag, credential.password)},"
            f'"key_id":{credential.key_id},"decision":{{"plan":{decision.plan},'
            f'"status":{decision.status},"reason":{_quoted(self.reason)}}}}}'
        ).encode()

    def _relays(self) -> str:
        return ",".join(
            f'{opening},"rank":{offer.rank},"rtt_ms":{offer.rtt_ms},'
            f'"distance_km":{"null" if offer.distance_km is None else offer.distance_km}}}'
            for opening, offer in zip(self.text.relays, self.offers, strict=True)
        )


def allocate(
    view: AllocatorView, request: AllocationRequest, *, now: datetime, entropy: bytes
) -> Allocation | Refused:
    """Relays and a credential for `request` at `now`, or why there are none.

    `entropy` is ENTROPY_LENGTH random bytes, never used twice; ValueError for another length.
    """
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    service = steered_service(view, request.service)
    if isinstance(service, Refused):
        return service
    client = view.steering.atlas.client(request.address)
    decision = view.steering.decide(service, client)
    if decision.site is None:
        return Refused("no_relay", None, f"service {service.id}: {decision.reason}")
    offers = _offers(view, decision, request.exclude_relays)
    if not offers:
        return _nothing_to_offer(service, request)
    entry = view.region_index[offers[0].relay.region]
    media = _media_region(view, view.steering.decide_media(service, client, entry), request)
    if isinstance(media, Refused):
        return media
    credential = _mint(view, media, request.ttl, now, entropy[: ufrag.ENTROPY_LENGTH])
    if isinstance(credential, Refused):
        return credential
    created_at = now.astimezone(UTC).replace(microsecond=0)
    return Allocation(
        id=entropy[ufrag.ENTROPY_LENGTH :].hex(),
        created_at=created_at,
        ttl=int((credential.expires_at - created_at).total_seconds()),
        request=request,
        place=view.place(client.cell),
        offers=offers,
        transceiver_region=media,
        credential=credential,
        decision=decision,
        text=view.session_text(tuple(offer.relay.id for offer in offers)),
    )


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


def _offers(view: AllocatorView, decision: Decision, excluded: frozenset[str]) -> tuple[Offer, ...]:
    """The first relays of the chosen region, then of those that the client would ask next.

    Regions that it asked before come last: their weight did not keep it.
    """
    assert decision.chosen is not None
    walk, chosen, cell = decision.walk, decision.chosen, decision.client.cell
    ignore_health = decision.ranking.outcome == "open"
    offers: list[Offer] = []
    for candidate in (*walk[chosen:], *walk[:chosen]) if chosen else walk:
        region = candidate.site.id
        for relay in view.relays_at(region, decision.bucket, ignore_health):
            if relay.id in excluded:
                continue
            distance = None if cell is None else view.distance_km(region, cell)
            offers.append(Offer(relay, len(offers) + 1, candidate.rtt_ms, distance))
            if len(offers) == MAX_RELAYS:
                return tuple(offers)
    return tuple(offers)


def _nothing_to_offer(service: Service, request: AllocationRequest) -> Refused:
    if request.exclude_relays:
        rule = f"rules out every relay that service {service.id} could offer now"
        return Refused("all_excluded", "exclude_relays", rule)
    return Refused("no_relay", None, f"service {service.id}: no relay routes by ufrag")


def _media_region(
    view: AllocatorView, decision: Decision, request: AllocationRequest
) -> str | Refused:
    """The id of the transceiver region that takes the session."""
    pinned = request.transceiver_region
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


def _mint(
    view: AllocatorView, media: str, ttl: int, now: datetime, entropy: bytes
) -> Credential | Refused:
    wire_id = view.wire_ids[media]
    if wire_id is None:
        plan = view.steering.atlas.plan.number
        rule = f"transceiver region {media} has no wire id in plan {plan}"
        return Refused("no_wire_id", None, rule)
    expires_at = now + timedelta(seconds=ttl)
    try:
        return ufrag.mint(view.keys, region=wire_id, expires_at=expires_at, entropy=entropy)
    except ValueError as error:  # the only argument that the world can spoil is the time
        return Refused("clock", None, f"this allocator's clock cannot be right: {error}")


def _rfc3339(moment: datetime) -> str:
    """To the second, in UTC."""
    return f"{moment.isoformat()[:19]}Z"


@lru_cache(1024)
def _quoted(text: str) -> str:
    return json.dumps(text)
