"""A decision under a sequence of hypothetical changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.model import Decision
from firsthop_steering.decision.topology import Client, Pool, Site, Topology
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Family, Service


@dataclass(frozen=True, slots=True)
class Hypothetical:
    """The question whether a client would be sent to one region under hypothetical changes."""

    steering: Steering
    service: str
    client: Client
    region: str
    family: Family | None = None
    """Of the addresses that are asked for; None: the client's own."""

    @property
    def hypothetical_service(self) -> Service:
        return self.steering.topology.services[self.service]

    @property
    def pool(self) -> Pool:
        return self.hypothetical_service.answer_pool

    @property
    def collection(self) -> Literal["regions", "transceiver_regions"]:
        return "regions" if self.pool == "relays" else "transceiver_regions"

    @property
    def endpoints(self) -> Literal["relays", "transceivers"]:
        """The document's collection of the regions' endpoints."""
        return "relays" if self.pool == "relays" else "transceivers"

    @property
    def index(self) -> int:
        """Index of the region in its pool."""
        return [site.id for site in self.steering.topology.pools[self.pool]].index(self.region)

    @property
    def site(self) -> Site:
        return self.steering.topology.pools[self.pool][self.index]

    def decide(self) -> Decision:
        """The decision under the changes so far."""
        return self.mine.decide(self.hypothetical_service, self.client)

    @property
    def mine(self) -> Steering:
        """The steering of the addresses that the client asks for."""
        family = self.family or self.client.address_family
        return self.steering.of(self.hypothetical_service, family)

    @property
    def holds(self) -> bool:
        """Whether the client is sent to the region."""
        site = self.decide().site
        return site is not None and site.id == self.region

    @property
    def ignores_health(self) -> bool:
        """Whether the decision disregards health because no region is up."""
        return self.decide().ranking.outcome == "open"

    def changed(self, collection: str, id_: str, **fields: Any) -> Hypothetical:
        """Changes fields of one object. Regions must not move, so round trips stay valid."""
        document = self.steering.topology.plan.document
        changed = tuple(
            each.model_copy(update=fields) if each.id == id_ else each
            for each in getattr(document, collection)
        )
        return self._under(document.model_copy(update={collection: changed}))

    def without_override(self, id_: str) -> Hypothetical:
        """Removes one override."""
        document = self.steering.topology.plan.document
        left = tuple(each for each in document.overrides if each.id != id_)
        return self._under(document.model_copy(update={"overrides": left}))

    def found_up(self, endpoint: str) -> Hypothetical:
        """Marks a relay as measured up and not forced, or a transceiver as reporting."""
        old, kind = self.steering, self.endpoints
        known = {**getattr(old.status, kind), endpoint: RelayStatus(verdict="up")}
        status = old.status.model_copy(update={kind: known})
        steering = Steering(
            old.topology, status, old.now, vantage=old.vantage, rtt=old.rtt, prices=old.prices
        )
        found = replace(self, steering=steering)
        return found.changed(kind, endpoint, forced=None) if kind == "relays" else found

    def _under(self, document: Document) -> Hypothetical:
        old = self.steering
        topology = Topology(
            old.topology.plan.model_copy(update={"document": document}), old.topology.geo
        )
        steering = Steering(
            topology, old.status, old.now, vantage=old.vantage, rtt=old.rtt, prices=old.prices
        )
        return replace(self, steering=steering)
