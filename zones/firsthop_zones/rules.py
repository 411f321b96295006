"""Rules between the records of zones, between zones, and between zones and services.

Records that no query can reach are *hidden*: those below a delegation, and those in a child zone
that is served here too. They cause a warning and are never served, as in other name servers. All
checks are linear in the number of records: each name is examined once, together with the names
above it up to its apex.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from firsthop_zones.faults import DocumentFault
from firsthop_zones.model import SteeredName, Zone
from firsthop_zones.names import parent, to_text
from firsthop_zones.rdata import Rdata
from firsthop_zones.record_types import AAAA, CNAME, DNAME, DS, HTTPS, NS, SVCB, A, type_name

_ADDRESSES = frozenset((A, AAAA))
_AT_A_CUT = frozenset((NS, DS))
_STEERED = frozenset((A, AAAA, CNAME, SVCB, HTTPS))
"""Types that a service answers at its name, so that no static record may have them there."""
MAX_WARNINGS = 100
"""Limit on warnings about the records of one zone; further ones are left out."""
LARGEST_RRSET = 60_000
"""Octets of RDATA plus 12 per record; an RRset of this size fits into a message, even after a chain
of aliases."""
_ODD_AT_WILDCARDS = frozenset((NS, DNAME))


_NOTHING: frozenset[int] = frozenset()


def zone_of(name: str, apexes: Container[str]) -> str | None:
    """The most specific apex at or above `name` (canonical text); None if there is none."""
    while name not in apexes:
        if name == ".":
            return None
        name = parent(name)
    return name


@dataclass(slots=True)
class _Contents:
    """A zone's records by name, and the names that affect the names below them."""

    zone: Zone
    types: dict[str, set[int]] = field(default_factory=dict)
    aliases: dict[tuple[str, int], set[Rdata]] = field(default_factory=dict)
    """CNAME and DNAME data by owner and type; each may occur once."""
    cuts: dict[str, set[str]] = field(default_factory=dict)
    """Delegated names and their name servers."""
    dnames: set[str] = field(default_factory=set)
    sizes: dict[tuple[str, int], int] = field(default_factory=dict)
    """Octets of each RRset, by owner and type."""
    ttls: dict[tuple[str, int], int] = field(default_factory=dict)
    """The lowest TTL of each RRset."""
    unequal: set[tuple[str, int]] = field(default_factory=set)
    """RRsets whose records have several TTLs."""
    hidden: dict[tuple[str, int], str] = field(default_factory=dict)
    """Records that are not in the fields above, by owner and type, and why."""

    @classmethod
    def of(cls, zone: Zone, apexes: Collection[str]) -> _Contents:
        contents = cls(zone)
        for record in zone.records:
            contents._add(record.owner, record.parsed, record.ttl)
        contents._hide(apexes)
        return contents

    def _hide(self, apexes: Collection[str]) -> None:
        """Moves hidden records to `hidden`; delegations below other delegations go first."""
        if not self.cuts and len(apexes) < 2:
            return
        for name in [name for name in self.cuts if self.cut_over(name) != name]:
            del self.cuts[name]
        servers = set().union(*self.cuts.values())
        for owner, types in list(self.types.items()):
            home = zone_of(owner, apexes)
            cut = self.cut_over(owner)
            if home not in (None, self.zone.apex):
                allowed = _of_a_zone_inside(self, owner, home, apexes, servers)
                rule = f"it is in zone {home}, which is served here too"
            elif cut is not None:
                allowed = _AT_A_CUT if owner == cut else _NOTHING
                # also of a sibling delegation (RFC 9471 §2.2)
                allowed |= _ADDRESSES if owner in servers else _NOTHING
                rule = f"{cut} is delegated (RFC 1034 §4.2.1)"
            else:
                continue
            for code in types - allowed:
                self.hidden[owner, code] = rule
            self.types[owner] = types & allowed
            if DNAME not in allowed:
                self.dnames.discard(owner)

    def _add(self, owner: str, value: Rdata, ttl: int) -> None:
        present = self.types.get(owner)
        if present is None:
            self.types[owner] = {value.type}
        else:
            present.add(value.type)
        where = owner, value.type
        self.sizes[where] = self.sizes.get(where, 0) + 12 + sum(map(len, value.parts))
        lowest = self.ttls.setdefault(where, ttl)
        if ttl != lowest:
            self.unequal.add(where)
            self.ttls[where] = min(ttl, lowest)
        if value.type in (CNAME, DNAME):
            self.aliases.setdefault((owner, value.type), set()).add(value)
        if value.type == DNAME:
            self.dnames.add(owner)
        if value.type == NS and owner != self.zone.apex:
            self.cuts.setdefault(owner, set()).add(to_text(value.parts[0]))

    def octets(self, owner: str, code: int) -> int:
        """The size of an RRset; for a delegation, with its servers' addresses."""
        found = self.sizes[owner, code]
        if code == NS and owner in self.cuts:
            for server in self.cuts[owner]:
                found += sum(self.sizes.get((server, kind), 0) for kind in _ADDRESSES)
        return found

    def cut_over(self, name: str) -> str | None:
        """The highest delegated name at or above `name`."""
        return self._highest(name, self.cuts)

    def dname_over(self, name: str) -> str | None:
        """The highest name above `name` that has a DNAME."""
        if not self.dnames or name == self.zone.apex:
            return None
        return self._highest(parent(name), self.dnames)

    def _highest(self, name: str, among: Container[str]) -> str | None:
        found = None
        if among:
            for each in _up_to(name, self.zone.apex):
                found = each if each in among else found
        return found


def _up_to(name: str, apex: str) -> Iterator[str]:
    """The name and the names above it, up to the apex."""
    yield name
    while name != apex:
        name = parent(name)
        yield name


def zone_problems(
    zones: Sequence[Zone], services: Sequence[SteeredName]
) -> Iterator[DocumentFault]:
    """Faults that prevent serving these zones and services."""
    apexes = {zone.apex for zone in zones}
    steered = {service.name for service in services}
    contents = {zone.apex: _Contents.of(zone, apexes) for zone in zones}
    for each in contents.values():
        for owner, types in each.types.items():
            for code, rule in _faults(each, owner, types, apexes, steered):
                where = f"zones/{each.zone.apex}/records/{owner}/{type_name(code)}"
                yield DocumentFault(where, rule)
    for service in services:
        apex = zone_of(service.name, apexes)
        if apex is None:
            yield DocumentFault(
                f"services/{service.id}/name", f"{service.name} is outside every zone"
            )
            continue
        for rule in _service_faults(contents[apex], service.name):
            yield DocumentFault(f"services/{service.id}/name", rule)


def _faults(
    contents: _Contents,
    owner: str,
    types: set[int],
    apexes: Container[str],
    steered: Container[str],
) -> Iterator[tuple[int, str]]:
    """The rules broken by the records at one name, each with the type of the record."""
    apex = contents.zone.apex
    home = zone_of(owner, apexes)
    if home is None:
        rule = f"the owner is not a name of zone {apex}"
        yield from ((code, rule) for code in sorted(types))
        return
    if home != apex:
        return
    if owner in steered:
        rule = "the owner is a steered service, which answers this type itself"
        yield from ((code, rule) for code in sorted(types & _STEERED))
    yield from _alias_faults(contents, owner, types)
    for code in sorted(types):
        if contents.octets(owner, code) > LARGEST_RRSET:
            yield code, f"its records have more than {LARGEST_RRSET:,} octets: no message fits them"
    if owner == apex and NS in types:
        yield NS, "the servers of the apex are the zone's name_servers"
    if owner == apex and DS in types:
        yield DS, "belongs to the parent zone (RFC 4035 §2.4)"
    dname = contents.dname_over(owner)
    if dname is not None:
        rule = f"no record may be below the DNAME of {dname} (RFC 6672 §2.4)"
        yield from ((code, rule) for code in sorted(types))


def _of_a_zone_inside(
    contents: _Contents,
    owner: str,
    home: str | None,
    apexes: Container[str],
    servers: Container[str],
) -> frozenset[int]:
    """Record types allowed at names of a child zone that is also served here: its delegation."""
    if home in (None, ".") or zone_of(parent(home), apexes) != contents.zone.apex:
        return _NOTHING
    allowed = _AT_A_CUT if owner == home and owner in contents.cuts else _NOTHING
    return allowed | _ADDRESSES if owner in servers else allowed


def _alias_faults(contents: _Contents, owner: str, types: set[int]) -> Iterator[tuple[int, str]]:
    if CNAME in types:
        if len(types) > 1 or owner == contents.zone.apex:
            yield CNAME, "a CNAME must be alone at its name (RFC 1034 §3.6.2)"
        if len(contents.aliases[owner, CNAME]) > 1:
            yield CNAME, "a name may have only one CNAME (RFC 2181 §10.1)"
    if DNAME in types and len(contents.aliases[owner, DNAME]) > 1:
        yield DNAME, "a name may have only one DNAME (RFC 6672 §2.4)"


def _service_faults(contents: _Contents, name: str) -> Iterator[str]:
    if name.startswith("*."):
        yield "a service has one name, so it cannot be a wildcard"
    cut = contents.cut_over(name)
    if cut is not None:
        yield f"{name} belongs to another zone: {cut} is delegated"
    dname = contents.dname_over(name)
    if dname is not None:
        yield f"no record may be below the DNAME of {dname} (RFC 6672 §2.4)"


def zone_warnings(
    zones: Sequence[Zone], services: Iterable[SteeredName]
) -> Iterator[DocumentFault]:
    """Probable mistakes that are valid: hidden records, unequal TTLs, unresolvable name servers.

    If a server's name is in a zone here, that zone must have its address (RFC 9471 §2.1), unless
    the name is in another delegation, whose servers have its address.
    """
    apexes = {zone.apex for zone in zones}
    contents = {zone.apex: _Contents.of(zone, apexes) for zone in zones}
    steered = {service.name for service in services}

    def unresolvable(server: str, cut: str | None) -> bool:
        apex = zone_of(server, contents)
        if apex is None or server in steered:
            return False
        if contents[apex].types.get(server, _NOTHING) & _ADDRESSES:
            return False
        return contents[apex].cut_over(server) in (None, cut)

    for apex, each in contents.items():
        yield from islice(_record_warnings(each), MAX_WARNINGS)
        for server in each.zone.name_servers:
            if unresolvable(server, None):
                yield DocumentFault(
                    f"zones/{apex}/name_servers", f"{server} has no address in the zone"
                )
        for cut, servers in each.cuts.items():
            for server in sorted(servers):
                if unresolvable(server, cut):
                    rule = f"{server} has no address in the zone: its delegation lacks glue"
                    yield DocumentFault(f"zones/{apex}/records/{cut}/NS", rule)


def _record_warnings(contents: _Contents) -> Iterator[DocumentFault]:
    where = f"zones/{contents.zone.apex}/records"
    for (owner, code), rule in contents.hidden.items():
        place = f"{where}/{owner}/{type_name(code)}"
        yield DocumentFault(place, f"is left out of answers: {rule}")
    for owner, types in contents.types.items():
        if DS in types and NS not in types:
            yield DocumentFault(
                f"{where}/{owner}/DS", "has no delegation beside it (RFC 4035 §2.4)"
            )
        for code in sorted(types & _ODD_AT_WILDCARDS) if owner.startswith("*.") else ():
            rule = "has no effect on the names that the wildcard covers (RFC 4592 §4)"
            yield DocumentFault(f"{where}/{owner}/{type_name(code)}", rule)
    for owner, code in sorted(contents.unequal):
        if (owner, code) not in contents.hidden:
            rule = (
                f"its records have several TTLs: all are served with {contents.ttls[owner, code]}"
            )
            yield DocumentFault(f"{where}/{owner}/{type_name(code)}", f"{rule} (RFC 2181 §5.2)")
