"""One allocation: a route and a credential for one session. Pure; time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from firsthop_allocator.allocations.answer_json import client_text, ice_servers_text, utc_text_of
from firsthop_allocator.allocations.exploring import CHANCE_LENGTH
from firsthop_allocator.allocations.route import AllocationRefused, SessionRoute
from firsthop_allocator.allocations.routing import find_route, steered_service
from firsthop_allocator.allocations.view import AllocatorView
from firsthop_ice import ufrag
from firsthop_ice.turn import TurnCredential, turn_credential
from firsthop_ice.ufrag import Credential

DEFAULT_TTL_S = 3600
"""Long enough for a call set-up that was put off; a flow outlives its credential anyway."""
MIN_TTL_S = 60
"""Below this a slow client, or one behind a slow signalling path, finds it expired."""
MAX_TTL_S = 86_400
"""A leaked credential opens flows for a day at most; keys are kept for longer than that."""
MAX_EXCLUDED = 64
"""Relays that one request may rule out: more than a client can have tried."""
ID_ENTROPY_LENGTH = 12
"""Octets of an allocation's id: 10^12 allocations meet by chance once in 10^5 such sets."""
_ID_END = ufrag.ENTROPY_LENGTH + ID_ENTROPY_LENGTH
ENTROPY_LENGTH = _ID_END + CHANCE_LENGTH

ClientSource = Literal["client_ip", "peer", "forwarded", "x-forwarded-for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """What is asked for; `ttl` in seconds, within MIN_TTL_S and MAX_TTL_S."""

    address: IPv4Address | IPv6Address
    """The client's, and not IPv4 in disguise."""
    source: ClientSource
    """Who said so."""
    service: str | None = None
    """Id or domain name; null: the first service by id whose pool is relays."""
    ttl: int = DEFAULT_TTL_S
    transceiver_region: str | None = None
    """Ends the session there, and nowhere else."""
    exclude_relays: frozenset[str] = frozenset()
    """Ids that the client found to be unreachable; unknown ones rule out nothing."""
    may_explore: bool = False
    """Whether there is some allowance left; not used where a region or relays are named."""

    def chance(self, drawn: bytes) -> bytes | None:
        """`drawn` for who may explore: nobody who is pinned, or has trouble already."""
        free = self.transceiver_region is None and not self.exclude_relays
        return drawn if self.may_explore and free else None


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a client gets; `to_json` is the body of the answer."""

    id: str
    created_s: int
    """Seconds since 1970."""
    expires_s: int
    """When the credential really ends: after what was asked for, and up to 16 s."""
    request: AllocationRequest
    route: SessionRoute
    credential: Credential
    turn: TurnCredential | None
    """For the TURN servers of the route, if it has some."""

    @property
    def ttl(self) -> int:
        """Seconds from making to expiry."""
        return self.expires_s - self.created_s

    def to_json(self) -> bytes:
        """The body of the answer as UTF-8."""
        request, route, credential = self.request, self.route, self.credential
        head = (
            f'{{"id":"{self.id}","created_at":"{utc_text_of(self.created_s)}",'
            f'"expires_at":"{utc_text_of(self.expires_s)}","ttl":{self.ttl},'
            f"{client_text(request.address, request.source, route.location)}"
        )
        return b",".join(
            (
                head.encode(),
                route.relays,
                route.text.members(credential.ufrag.encode(), credential.password.encode()),
                ice_servers_text(self.turn, route.turn_urls),
                b'"key_id":%d' % credential.key_id,
                route.decision + b"}",
            )
        )


def allocate(
    view: AllocatorView, request: AllocationRequest, *, now: datetime, entropy: bytes
) -> Allocation | AllocationRefused:
    """Relays and a credential for `request` at `now`, or why there are none.

    `entropy` is ENTROPY_LENGTH random bytes, never used twice; ValueError for another length.
    """
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    service = steered_service(view, request.service)
    if isinstance(service, AllocationRefused):
        return service
    route = find_route(
        view,
        service,
        view.steering.topology.client(request.address),
        pinned=request.transceiver_region,
        excluded=request.exclude_relays,
        chance=request.chance(entropy[_ID_END:]),
    )
    if isinstance(route, AllocationRefused):
        return route
    expires_at = now + timedelta(seconds=request.ttl)
    nonce = entropy[: ufrag.ENTROPY_LENGTH]
    try:
        credential = ufrag.mint(
            view.keys, region=route.wire_id, expires_at=expires_at, entropy=nonce
        )
    except ValueError as error:  # the only argument that the world can spoil is the time
        return AllocationRefused("clock", None, f"this allocator's clock cannot be right: {error}")
    created_s, expires_s = int(now.timestamp()), int(credential.expires_at.timestamp())
    identity = entropy[ufrag.ENTROPY_LENGTH : _ID_END].hex()
    turn = None
    if route.turn_urls:
        turn = turn_credential(
            view.turn_secret, expires_at=credential.expires_at, name=str(route.wire_id)
        )
    return Allocation(identity, created_s, expires_s, request, route, credential, turn)
