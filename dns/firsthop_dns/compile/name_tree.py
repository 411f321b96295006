"""The names of all zones of a document as a tree of nodes.

Built when a table is compiled, from documents that satisfy `firsthop_zones.rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from firsthop_dns.compile.rrset import (
    ADDRESSES,
    RRset,
    ZoneError,
    name_servers,
    rrsets,
    start_of_authority,
)
from firsthop_dns.wire.names import ROOT, parent
from firsthop_dns.wire.query import DNAME, DS, NS
from firsthop_steering.plan.document import Document
from firsthop_zones.model import Record, Zone
from firsthop_zones.names import to_wire

WHOAMI = b"\x06whoami"
WILDCARD = b"\x01*"


@dataclass(slots=True)
class NameNode:
    """A name that exists: with records, steered, whoami, or only because of names below."""

    zone: int
    service: int | None = None
    whoami: bool = False
    cut: bool = False
    """A delegation: another server answers from here on down (RFC 1034 §4.2.1)."""
    parent: int | None = None
    """Of an apex: the parent zone, if ours, which holds its DS (RFC 4035 §3.1.4.1)."""
    delegated: RRset | None = None
    """The DS records in the parent zone."""
    rrsets: dict[int, RRset] = field(default_factory=dict)


class NameTree:
    """All nodes by wire name, and the glue addresses of delegations."""

    def __init__(self, document: Document, serial: int) -> None:
        self.zones = document.zones
        self.apexes = {to_wire(zone.apex): index for index, zone in enumerate(document.zones)}
        self.nodes = {apex: NameNode(index) for apex, index in self.apexes.items()}
        self.glue: dict[bytes, dict[int, RRset]] = {}
        """Addresses at and below cuts: for referrals only, not for answers (RFC 9471)."""
        services = [to_wire(service.name) for service in document.services]
        for name in services:
            self._make(name)
        for index, zone in enumerate(document.zones):
            self._add_records(index, zone)
        for index, name in enumerate(services):
            self.nodes[name].service = index
        for apex, index in self.apexes.items():
            if apex != ROOT and self.zone_of(parent(apex)) is not None:
                # A zone inside another makes the names between the two apexes exist.
                self.nodes[apex].parent = self._make(parent(apex)).zone
            zone = document.zones[index]
            own = self.nodes[apex].rrsets
            for rrset in (start_of_authority(zone, serial), name_servers(zone)):
                own[rrset.type] = rrset
            self._add_whoami(apex, index)

    def zone_of(self, name: bytes) -> int | None:
        """The zone that a name lies in: the one with the most specific apex."""
        while True:
            found = self.apexes.get(name)
            if found is not None or name == ROOT:
                return found
            name = parent(name)

    def closest(self, name: bytes) -> bytes:
        """A name in a zone of ours if it exists, else its closest encloser (RFC 4592 §3.3.1)."""
        while name not in self.nodes:
            name = parent(name)
        return name

    def addresses(self, name: bytes) -> Iterable[RRset]:
        """The A and AAAA RRsets of a name as additional data: static records, else glue.

        A wildcard's are those of the names that it covers.
        """
        node = self.nodes.get(name) or self._wildcard_over(name)
        own: Mapping[int, RRset] = node.rrsets if node is not None and not node.cut else {}
        own = own or self.glue.get(name, {})
        return [own[kind] for kind in ADDRESSES if kind in own]

    def _wildcard_over(self, name: bytes) -> NameNode | None:
        if self.zone_of(name) is None:
            return None
        closest = self.closest(name)
        encloser = self.nodes[closest]
        if encloser.cut or DNAME in encloser.rrsets:
            return None
        return self.nodes.get(WILDCARD + closest)

    def _add_records(self, index: int, zone: Zone) -> None:
        apex = to_wire(zone.apex)
        owners: dict[str, list[Record]] = {}
        for record in zone.records:
            owners.setdefault(record.owner, []).append(record)
        sets = {to_wire(owner): rrsets(records) for owner, records in owners.items()}
        cuts = {name for name, own in sets.items() if NS in own and name != apex}
        for name, own in sets.items():
            if self.zone_of(name) != index:  # its delegation; the zone there is ours as well
                if name in self.apexes:
                    self.nodes[name].delegated = own.get(DS)
                continue
            cut = _above(name, cuts, apex) if cuts else None
            if cut is None or cut == name:
                node = self._make(name)
                node.rrsets, node.cut = own, cut is not None
            if cut is not None:
                glue = {kind: own[kind] for kind in ADDRESSES if kind in own}
                self.glue[name] = glue
                if cut == name:  # all else is hidden (see `firsthop_zones.rules`)
                    node.rrsets = {kind: own[kind] for kind in (NS, DS) if kind in own}

    def _make(self, name: bytes) -> NameNode:
        """The node of a name; those above it exist too (RFC 4592 §2.2.2)."""
        wanted, index = name, self.zone_of(name)
        if index is None:
            raise ZoneError(f"{name!r} lies outside every zone")
        while name not in self.nodes:
            self.nodes[name] = NameNode(index)
            name = parent(name)
        return self.nodes[wanted]

    def _add_whoami(self, apex: bytes, index: int) -> None:
        """Adds the whoami name, unless the zone has records there."""
        name = WHOAMI + apex
        covered = DNAME in self.nodes[apex].rrsets or WILDCARD + apex in self.nodes
        if len(name) <= 255 and name not in self.apexes and not covered:
            node = self.nodes.setdefault(name, NameNode(index))
            node.whoami = not node.rrsets and node.service is None


def _above(name: bytes, cuts: Collection[bytes], apex: bytes) -> bytes | None:
    """The cut that `name` lies at or below; the one nearest the apex if there are several."""
    found = None
    while name != apex and name != ROOT:
        if name in cuts:
            found = name
        name = parent(name)
    return found
