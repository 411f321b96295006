"""Where a credential's wire ids lead: an allow-listed table, and the choice within it.

A region leads to transceivers, each with its wire id, or to further relays (without one), which
route by the transceiver's wire id in their turn. So a global and a cluster relay are one program.
No address ever comes from a packet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from firsthop_steering.fields import Model, Port, State, Weight, WireId
from firsthop_steering.race import BUCKETS, arrival

if TYPE_CHECKING:
    from firsthop_steering.document import Document

Address = tuple[str, int]
"""Address text and port."""


class Upstream(Model):
    """One next hop of a region."""

    host: IPv4Address | IPv6Address
    port: Port
    wire_id: WireId | None = None
    """The transceiver's; null: a relay, which takes all transceivers of the region."""
    weight: Weight = 100
    state: State = State.ACTIVE
    """Draining: only for who names it; disabled: for nobody."""

    @property
    def address(self) -> Address:
        """For a socket."""
        return str(self.host), self.port


class Route(Model):
    """The next hops of one transceiver region."""

    region: WireId
    upstreams: tuple[Upstream, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _told_apart(self) -> Route:
        named = [each.wire_id for each in self.upstreams if each.wire_id is not None]
        if len(set(named)) != len(named):
            raise ValueError(f"region {self.region}: a transceiver's wire_id stands twice")
        return self


class RouteFile(Model):
    """What `--routes` names: YAML, so JSON as well."""

    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _told_apart(self) -> RouteFile:
        if len({each.region for each in self.routes}) != len(self.routes):
            raise ValueError("a region stands twice")
        return self


class RouteError(ValueError):
    """A text that is no route table; the message names the field and the rule."""


class RouteTable:
    """Wire ids to addresses; replaced whole, never changed."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._by_region: Mapping[int, Route] = {each.region: each for each in routes}
        self._allowed = frozenset(
            each.address
            for route in self._by_region.values()
            for each in route.upstreams
            if each.state != State.DISABLED
        )

    def __len__(self) -> int:
        """How many regions it knows."""
        return len(self._by_region)

    def __contains__(self, address: Address) -> bool:
        """Whether anything may be sent there at all."""
        return address in self._allowed

    def resolve(self, region: int, transceiver: int, ufrag: bytes) -> Address | None:
        """The next hop for a ufrag with these wire ids, None without a route.

        A transceiver that is named gets it also while it drains. Otherwise, and among relays,
        the ufrag's rendezvous decides, so that every worker and every relay chooses alike.
        """
        route = self._by_region.get(region)
        if route is None:
            return None
        if transceiver:
            for each in route.upstreams:
                if each.wire_id == transceiver:
                    return None if each.state == State.DISABLED else each.address
        able = [
            each
            for each in route.upstreams
            if each.state == State.ACTIVE
            and each.weight > 0
            and (each.wire_id is None or not transceiver)
        ]
        if not able:
            return None
        spot = int.from_bytes(blake2b(ufrag, digest_size=2).digest()) % BUCKETS
        return min(able, key=lambda each: _arrival(each, spot)).address

    def to_json(self) -> str:
        """The text that `read_routes` reads."""
        return RouteFile(routes=tuple(self._by_region.values())).model_dump_json()


def _arrival(upstream: Upstream, spot: int) -> tuple[float, Address]:
    host, port = upstream.address
    return arrival(f"{host} {port}", upstream.weight, spot), (host, port)


def read_routes(text: str | bytes) -> RouteTable:
    """The table in a YAML or JSON text. Raises RouteError."""
    try:
        held = _parsed(text)
        return RouteTable(RouteFile.model_validate({} if held is None else held).routes)
    except RecursionError:
        raise RouteError("is nested too deeply") from None
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise RouteError(f"{place}: {fault['msg']}" if place else fault["msg"]) from None


def _parsed(text: str | bytes) -> Any:
    """YAML; JSON, which is YAML as well, in a hundredth of the time."""
    try:
        return json.loads(text)
    except ValueError:
        import yaml  # what the control plane publishes is JSON: few relays need it

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RouteError(f"is not YAML: {' '.join(str(error).split())}") from None


def routes_of(document: Document) -> RouteTable:
    """The table that a plan's document means: each region straight to its transceivers.

    A region that drains still gets the sessions that were sent there; a disabled one gets none.
    """
    routes = []
    for region in document.transceiver_regions:
        upstreams = tuple(
            Upstream(
                host=each.host,
                port=each.port,
                wire_id=each.wire_id,
                weight=each.weight,
                state=each.state,
            )
            for each in document.transceivers
            if each.region == region.id and each.wire_id is not None
        )
        if region.wire_id is not None and upstreams and region.state != State.DISABLED:
            routes.append(Route(region=region.wire_id, upstreams=upstreams))
    return RouteTable(routes)
