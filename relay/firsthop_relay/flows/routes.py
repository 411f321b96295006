"""The route table: from a credential's wire ids to allow-listed upstream addresses.

A region's upstreams are transceivers, each with its wire id, or further relays (without one), which
route by the transceiver's wire id themselves. So global and cluster relays are the same program.
Addresses are never taken from packets. `route_text` reads and writes the table.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from firsthop_ice.desired_state import State
from firsthop_ice.rendezvous_draw import BUCKETS, rendezvous_draw

if TYPE_CHECKING:  # a relay reads no plan
    from firsthop_steering.plan.document import Document

SocketAddress = tuple[str, int]
"""Address text and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One next hop of a region."""

    host: str
    """Address text, as `ipaddress` writes it."""
    port: int
    wire_id: int | None = None
    """The transceiver's wire id; None for a relay, which serves all transceivers of the region."""
    weight: int = 100
    state: State = State.ACTIVE
    """A draining upstream is used only by credentials that name it, a disabled one by none."""

    @property
    def address(self) -> SocketAddress:
        """Host and port, as a socket takes them."""
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class Route:
    """The next hops of one transceiver region, by its wire id."""

    region: int
    upstreams: tuple[Upstream, ...]


class RouteTable:
    """Maps wire ids to addresses; immutable, and replaced as a whole."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._by_region: Mapping[int, Route] = {each.region: each for each in routes}
        self._allowed = frozenset(
            each.address
            for route in self._by_region.values()
            for each in route.upstreams
            if each.state != State.DISABLED
        )
        self._transceivers = frozenset(
            each.address
            for route in self._by_region.values()
            for each in route.upstreams
            if each.wire_id is not None
        )

    def __len__(self) -> int:
        """Number of regions."""
        return len(self._by_region)

    def __contains__(self, address: SocketAddress) -> bool:
        """Whether packets may be sent to this address."""
        return address in self._allowed

    def is_transceiver(self, address: SocketAddress) -> bool:
        """Whether this is the address of one transceiver, not of a further relay."""
        return address in self._transceivers

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes."""
        return tuple(self._by_region.values())

    def resolve(self, region: int, transceiver: int, ufrag: bytes) -> SocketAddress | None:
        """The next hop for a ufrag with these wire ids; None if there is no route.

        A transceiver that the credential names is used even if it is draining. Otherwise, and among
        relays, a rendezvous draw on the ufrag decides, so all workers and relays choose the same.
        """
        route = self._by_region.get(region)
        if route is None:
            return None
        if transceiver:
            for each in route.upstreams:
                if each.wire_id == transceiver:
                    return None if each.state == State.DISABLED else each.address
        eligible = [
            each
            for each in route.upstreams
            if each.state == State.ACTIVE
            and each.weight > 0
            and (each.wire_id is None or not transceiver)
        ]
        if not eligible:
            return None
        bucket = int.from_bytes(blake2b(ufrag, digest_size=2).digest()) % BUCKETS
        return min(eligible, key=lambda each: _draw_of(each, bucket)).address


def _draw_of(upstream: Upstream, bucket: int) -> tuple[float, SocketAddress]:
    host, port = upstream.address
    return rendezvous_draw(f"{host} {port}", upstream.weight, bucket), (host, port)


def routes_of(document: Document, unwilling: Container[str] = frozenset()) -> RouteTable:
    """The route table of a plan's document: each region directly to its transceivers.

    A draining region still gets the sessions that were sent there; a disabled one gets none.
    Transceivers in `unwilling` (ids) take no new sessions now: they are treated as draining, unless
    that would leave none in their region.
    """
    routes = []
    for region in document.transceiver_regions:
        transceivers = [
            each
            for each in document.transceivers
            if each.region == region.id and each.wire_id is not None
        ]
        active = [each for each in transceivers if each.state == State.ACTIVE and each.weight > 0]
        some_left = any(each.id not in unwilling for each in active)
        upstreams = tuple(
            Upstream(
                host=str(each.host),
                port=each.port,
                wire_id=each.wire_id,
                weight=each.weight,
                state=State.DRAINING
                if some_left and each in active and each.id in unwilling
                else each.state,
            )
            for each in transceivers
        )
        if region.wire_id is not None and upstreams and region.state != State.DISABLED:
            routes.append(Route(region.wire_id, upstreams))
    return RouteTable(routes)
