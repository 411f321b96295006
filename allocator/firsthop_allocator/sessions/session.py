"""Opening a session: which transceivers to ask, in which order, each with its own credential.

Pure: time and chance are arguments. No state is kept: any allocator can find a session's
transceiver from the session's token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from firsthop_allocator.allocations.allocation import AllocationRequest
from firsthop_allocator.allocations.answer_json import (
    decision_members,
    dump,
    relay_members,
    utc_text,
)
from firsthop_allocator.allocations.exploring import CHANCE_LENGTH
from firsthop_allocator.allocations.route import AllocationRefused, Offer, SessionRoute
from firsthop_allocator.allocations.routing import find_route, media_regions, steered_service
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_ice import ufrag
from firsthop_ice.candidates import UdpAddress, candidate_lines
from firsthop_ice.session_token import SessionName, make_token, read_token
from firsthop_ice.ufrag import Credential, region_password_key
from firsthop_steering.decision.availability import unavailable_transceivers
from firsthop_steering.decision.rendezvous import BUCKETS, rendezvous_draws
from firsthop_steering.decision.topology import Client
from firsthop_steering.feed.snapshot import Status
from firsthop_steering.plan.model import Relay, Service, Transceiver

MAX_ATTEMPTS = 4
"""Most transceivers that one request asks: enough to get past some dead ones."""
ENTROPY_LENGTH = 2 + MAX_ATTEMPTS * ufrag.ENTROPY_LENGTH + CHANCE_LENGTH


@dataclass(frozen=True, slots=True)
class SessionAttempt:
    """One transceiver to ask, with the route and credential for it."""

    transceiver: Transceiver
    route: SessionRoute
    credential: Credential
    token: str
    password_key: bytes

    def note(self, state: AllocatorState) -> str:
        """The route and its reason as one line of JSON, for debugging."""
        route, steering = self.route, state.steering
        value = {
            "relays": [_noted(offer) for offer in route.offers],
            "transceiver_region": route.transceiver_region,
            "transceiver": self.transceiver.id,
            "expires_at": utc_text(self.credential.expires_at),
            **decision_members(steering.topology.plan.number, steering.status.number, route.reason),
            "explored": route.explored,
        }
        return dump(value)


def _noted(offer: Offer) -> dict[str, object]:
    """Id, region, addresses and expected round trip of a relay; its ports are in the candidates."""
    members = relay_members(offer.relay)
    kept = ("id", "region", "ipv4", "ipv6")
    return {name: members[name] for name in kept} | {"rtt_ms": offer.rtt_ms}


def session_attempts(
    state: AllocatorState,
    request: AllocationRequest,
    *,
    now: datetime,
    entropy: bytes,
    resting: frozenset[str] = frozenset(),
) -> tuple[SessionAttempt, ...] | AllocationRefused:
    """The transceivers to ask for the session of `request`, the best first.

    Regions are in the order of the decision. In each region a rendezvous draw by weight orders the
    transceivers, differently for each session. Those in `resting` (ids) come after all others, as
    do those that report a drain or full load, or have stopped reporting.

    `entropy` is ENTROPY_LENGTH random bytes, never used twice.
    """
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    service = steered_service(state, request.service)
    if isinstance(service, AllocationRefused):
        return service
    client = state.steering.topology.client(request.address)
    pinned, excluded = request.transceiver_region, request.exclude_relays
    route = find_route(state, service, client, pinned=pinned, excluded=excluded)
    if isinstance(route, AllocationRefused):
        return route
    regions = (pinned,) if pinned else media_regions(state, service, client, route)
    drawn = int.from_bytes(entropy[:2], "big") % BUCKETS
    asked = [
        (region, each)
        for region in regions
        for each in sorted(
            state.tables.transceivers.get(region, ()),
            key=lambda each: (rendezvous_draws(each.id, each.weight)[drawn], each.id),
        )
    ]
    if not asked:
        rule = "no transceiver of an eligible region has a signalling address and a wire id"
        return AllocationRefused("no_transceiver_region", None, rule)
    last = resting | _unlikely(state.steering.status)
    asked.sort(key=lambda pair: pair[1].id in last)
    try:
        made = _mint(state, request, service, client, asked[:MAX_ATTEMPTS], now, entropy[2:])
        return tuple(made)
    except ValueError as error:  # only the time can be out of range
        return AllocationRefused("clock", None, f"this allocator's clock cannot be right: {error}")


def _unlikely(status: Status) -> frozenset[str]:
    """Transceivers that would refuse a session according to their last reports, which may be
    outdated."""
    full = {name for name, each in status.transceivers.items() if (each.load or 0) >= 1}
    return unavailable_transceivers(status) | full


def _mint(
    state: AllocatorState,
    request: AllocationRequest,
    service: Service,
    client: Client,
    asked: list[tuple[str, Transceiver]],
    now: datetime,
    entropy: bytes,
) -> Iterator[SessionAttempt]:
    size = ufrag.ENTROPY_LENGTH
    chance = request.chance(entropy[MAX_ATTEMPTS * size :])
    for index, (region, transceiver) in enumerate(asked):
        excluded = request.exclude_relays
        route = find_route(state, service, client, pinned=region, excluded=excluded, chance=chance)
        if isinstance(route, AllocationRefused):  # a region without a wire id
            continue
        credential = ufrag.mint(
            state.keys,
            region=route.wire_id,
            transceiver=transceiver.wire_id or 0,
            expires_at=now + timedelta(seconds=request.ttl),
            entropy=entropy[index * size : (index + 1) * size],
        )
        key = region_password_key(state.keys.masters[credential.key_id], route.wire_id)
        token = make_token(credential.ufrag, key)
        yield SessionAttempt(transceiver, route, credential, token, key)


def candidates(relays: Sequence[Relay], transceiver: Transceiver) -> tuple[str, ...]:
    """Candidates for the client: those of the relays. If there are none, because the client gets
    TURN servers only, that of the transceiver itself, which the TURN servers must reach."""
    if relays:
        return candidate_lines(relays)
    return candidate_lines([UdpAddress(transceiver.host, transceiver.port)])


@dataclass(frozen=True, slots=True)
class SessionLocation:
    """Where an open session is, by its token."""

    name: SessionName
    transceiver: Transceiver
    password_key: bytes


def locate_session(state: AllocatorState, token: str) -> SessionLocation | None:
    """The session that `token` names; None if no allocator of this deployment made the token, or if
    its key or transceiver is no longer in the plan."""
    name = read_token(token)
    if name is None:
        return None
    master = state.keys.masters.get(name.claimed.key_id)
    found = state.tables.transceiver_at.get((name.claimed.region, name.claimed.transceiver))
    if master is None or found is None:
        return None
    key = region_password_key(master, name.claimed.region)
    return SessionLocation(name, found, key) if name.genuine(key) else None


def renewed(
    state: AllocatorState, at: SessionLocation, *, ttl: int, now: datetime, entropy: bytes
) -> Credential:
    """A fresh credential on the same route, for an ICE restart; `entropy` as for `ufrag.mint`."""
    return ufrag.mint(
        state.keys,
        region=at.name.claimed.region,
        transceiver=at.name.claimed.transceiver,
        expires_at=now + timedelta(seconds=ttl),
        entropy=entropy,
    )
