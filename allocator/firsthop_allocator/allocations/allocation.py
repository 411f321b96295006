"""One allocation: a route and a credential for a session. Pure: time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from firsthop_allocator.allocations.answer_json import client_text, ice_servers_text, utc_text_of
from firsthop_allocator.allocations.exploring import CHANCE_LENGTH
from firsthop_allocator.allocations.route import AllocationRefused, SessionRoute
from firsthop_allocator.allocations.routing import find_route, steered_service
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_ice import ufrag
from firsthop_ice.turn import TurnCredential, turn_credential
from firsthop_ice.ufrag import Credential

DEFAULT_TTL_S = 3600
"""Seconds: long enough for a delayed call set-up. Open flows outlive their credential."""
MIN_TTL_S = 60
"""Seconds: with fewer, a slow client or slow signalling could use the credential too late."""
MAX_TTL_S = 86_400
"""Seconds: a leaked credential opens flows for a day at most. Keys are kept for longer."""
MAX_EXCLUDED = 64
"""Most relays that one request may rule out: more than a client can have tried."""
ID_ENTROPY_LENGTH = 12
"""Octets of an allocation's id: among 10^12 ids, two are equal with a probability of 10^-5."""
_ID_END = ufrag.ENTROPY_LENGTH + ID_ENTROPY_LENGTH
ENTROPY_LENGTH = _ID_END + CHANCE_LENGTH

ClientSource = Literal["client_ip", "peer", "forwarded", "x-forwarded-for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """The parameters of an allocation; `ttl` in seconds, within MIN_TTL_S and MAX_TTL_S."""

    address: IPv4Address | IPv6Address
    """The client's address, never an IPv4-mapped one."""
    source: ClientSource
    """Where the address was read."""
    service: str | None = None
    """Id or domain name; None: the first service by id whose pool is relays."""
    ttl: int = DEFAULT_TTL_S
    transceiver_region: str | None = None
    """The only region where the session may end; None: any."""
    exclude_relays: frozenset[str] = frozenset()
    """Ids that the client found to be unreachable; unknown ones rule out nothing."""
    may_explore: bool = False
    """Whether the allowance permits exploration; ignored if a region is pinned or relays are
    excluded."""

    def chance(self, drawn: bytes) -> bytes | None:
        """`drawn` if the request may explore; None if it is pinned or excludes relays."""
        free = self.transceiver_region is None and not self.exclude_relays
        return drawn if self.may_explore and free else None


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a client gets; `to_json` is the body of the answer."""

    id: str
    created_s: int
    """Seconds since 1970."""
    expires_s: int
    """When the credential expires, in seconds since 1970: up to 16 s later than asked for."""
    request: AllocationRequest
    route: SessionRoute
    credential: Credential
    turn: TurnCredential | None
    """The credential for the route's TURN servers; None if it has none."""

    @property
    def ttl(self) -> int:
        """Seconds from creation to expiry."""
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
    state: AllocatorState, request: AllocationRequest, *, now: datetime, entropy: bytes
) -> Allocation | AllocationRefused:
    """Relays and a credential for `request` at `now`, or why there are none.

    `entropy` is ENTROPY_LENGTH random bytes, never used twice. Raises ValueError if it has another
    length.
    """
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    service = steered_service(state, request.service)
    if isinstance(service, AllocationRefused):
        return service
    route = find_route(
        state,
        service,
        state.steering.topology.client(request.address),
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
            state.keys, region=route.wire_id, expires_at=expires_at, entropy=nonce
        )
    except ValueError as error:  # only the time can be out of range
        return AllocationRefused("clock", None, f"this allocator's clock cannot be right: {error}")
    created_s, expires_s = int(now.timestamp()), int(credential.expires_at.timestamp())
    identity = entropy[ufrag.ENTROPY_LENGTH : _ID_END].hex()
    turn = turn_of(state, route, expires_at=credential.expires_at)
    return Allocation(identity, created_s, expires_s, request, route, credential, turn)


def turn_of(
    state: AllocatorState, route: SessionRoute, *, expires_at: datetime
) -> TurnCredential | None:
    """The credential for the TURN servers of a route; None if it has none."""
    if not route.turn_urls:
        return None
    return turn_credential(state.turn_secret, expires_at=expires_at, name=str(route.wire_id))
