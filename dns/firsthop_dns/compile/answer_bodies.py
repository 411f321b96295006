"""Bodies of all answers that do not depend on the client, made when a table is compiled.

CNAME chains are followed here instead of per query, as far as their names are known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firsthop_dns.compile.name_tree import WILDCARD, NameNode, NameTree
from firsthop_dns.compile.rrset import (
    ADDITIONAL,
    AUTHORITY,
    SPARE,
    Body,
    BodyWriter,
    RRset,
    alias,
    plain_body,
    start_of_authority,
)
from firsthop_dns.table.layout import LONGEST_CHAIN, OTHER_TYPES, REFERRAL
from firsthop_dns.wire.edns import NOERROR, NXDOMAIN, YXDOMAIN
from firsthop_dns.wire.names import ROOT, within
from firsthop_dns.wire.query import CNAME, DNAME, DS, HTTPS, MX, NS, SRV, SVCB
from firsthop_zones.rdata import Rdata

Link = tuple[bytes, RRset]


class Bodies:
    """Makes the bodies of one tree."""

    def __init__(self, tree: NameTree, serial: int) -> None:
        self._tree = tree
        self._negative = [start_of_authority(zone, serial, negative=True) for zone in tree.zones]

    def negative(self, apex: bytes, zone: int) -> Body:
        """The SOA for negative answers, for any name at or below the apex."""
        writer = BodyWriter(apex)
        writer.add(apex, self._negative[zone], AUTHORITY)
        return writer.body()

    def of(self, name: bytes, node: NameNode) -> Iterator[tuple[int, Body]]:
        """A node's bodies by type; see `layout.TYPE` for those that serve several types."""
        if node.cut:
            yield REFERRAL, self._referral(name, node)
            if DS in node.rrsets:  # the parent's own (RFC 4035 §3.1.4.1)
                yield DS, _body(name, [(name, node.rrsets[DS])])
            return
        if CNAME in node.rrsets:
            yield from self._alias(name, node)
            return
        for kind, rrset in node.rrsets.items():
            plain = None if kind in (DNAME, HTTPS, SRV, SVCB) else plain_body(rrset)
            yield kind, plain or self._own(name, rrset, node.zone)
        if node.parent is not None:
            yield DS, self._delegated(name, node, node.parent)

    def _own(self, name: bytes, rrset: RRset, zone: int) -> Body:
        writer = BodyWriter(name)
        writer.add(name, rrset)
        bound = rrset.type in (HTTPS, SVCB)  # addresses of all our zones (RFC 9460 §4.1)
        for target in dict.fromkeys(_target(name, rrset.type, each) for each in rrset.values):
            if target is None or (target == name and name.startswith(WILDCARD)):
                continue
            if bound or self._tree.zone_of(target) == zone:
                self._add_addresses(writer, target, SPARE)
        return writer.body()

    def _add_addresses(self, writer: BodyWriter, name: bytes, section: int) -> None:
        for rrset in self._tree.addresses(name):
            writer.add(name, rrset, section)

    def _delegated(self, name: bytes, node: NameNode, zone: int) -> Body:
        """The DS of a zone whose parent is ours too, or the parent's negative answer."""
        if node.delegated is None:
            return self._ending(name, [], zone, NOERROR)
        return _body(name, [(name, node.delegated)])

    def _referral(self, name: bytes, node: NameNode) -> Body:
        writer = BodyWriter(name)
        self._delegate(writer, name, node)
        return writer.body(authoritative=False)

    def _delegate(self, writer: BodyWriter, cut: bytes, node: NameNode) -> None:
        """NS of the cut; all in-domain glue, then other known addresses (RFC 9471 §2)."""
        writer.add(cut, node.rrsets[NS], AUTHORITY)
        targets = dict.fromkeys(node.rrsets[NS].names)
        for section, inside in ((ADDITIONAL, True), (SPARE, False)):
            for target in targets:
                if within(target, cut) == inside and self._tree.zone_of(target) == node.zone:
                    self._add_addresses(writer, target, section)

    def _alias(self, name: bytes, node: NameNode) -> Iterator[tuple[int, Body]]:
        link = node.rrsets[CNAME]
        if name.startswith(WILDCARD):  # followed at query time (`alias_chain`)
            whole = tuple(Rdata(CNAME, (bytes(target),)) for target in link.names)
            yield CNAME, _body(name, [(name, RRset(CNAME, link.ttl, whole))])
            return
        yield CNAME, _body(name, [(name, link)])
        yield from self._chain(name, node)

    def _chain(self, name: bytes, node: NameNode) -> Iterator[tuple[int, Body]]:
        """The bodies of an alias for each type that its end has, and for all others.

        The chain is followed inside the zone (RFC 1034 §4.3.2) and ends before a steered name,
        whose answer must be cached separately (RFC 7871 §7.2.1). The rcode is that of the last
        name (RFC 6604 §3).
        """
        links: list[Link] = [(name, node.rrsets[CNAME])]
        rcode, found = NOERROR, None
        while True:
            end = links[-1][1].names[0]
            looped = _loops(links, end)
            step = None if looped else self._step(end, node.zone)
            if step is None or (step[0] and len(links) >= LONGEST_CHAIN):
                yield OTHER_TYPES, self._left(name, links, end, node.zone)
                delegated = None if looped else self._tree.nodes.get(end)
                if delegated is not None and delegated.cut and delegated.zone == node.zone:
                    yield DS, self._delegation_signer(name, links, end, delegated)
                return
            more, rcode, found = step
            links += more
            if not more or rcode != NOERROR:
                break
        if rcode == YXDOMAIN:
            yield OTHER_TYPES, _body(name, links, rcode=rcode)
            return
        yield OTHER_TYPES, self._ending(name, links, node.zone, rcode)
        for kind, rrset in found.rrsets.items() if found else ():
            yield kind, _body(name, [*links, (end, rrset)])

    def _delegation_signer(
        self, name: bytes, links: list[Link], cut: bytes, node: NameNode
    ) -> Body:
        """DS belongs to the parent, also at the end of a chain (RFC 4035 §3.1.4.1)."""
        if DS in node.rrsets:
            return _body(name, [*links, (cut, node.rrsets[DS])])
        return self._ending(name, links, node.zone, NOERROR)

    def _left(self, name: bytes, links: list[Link], end: bytes, zone: int) -> Body:
        """A chain that leaves our data; with a referral if its next name is at or below a cut."""
        writer = _writer(name, links)
        if self._tree.zone_of(end) == zone:
            cut = self._tree.closest(end)
            if self._tree.nodes[cut].cut:
                self._delegate(writer, cut, self._tree.nodes[cut])
        return writer.body()

    def _step(self, name: bytes, zone: int) -> tuple[list[Link], int, NameNode | None] | None:
        """The continuation of a chain at `name`: further links and an rcode, or its final node.

        None if the name is answered elsewhere: another zone, a delegation, a steered name.
        """
        tree = self._tree
        if tree.zone_of(name) != zone:
            return None
        closest = tree.closest(name)
        node = tree.nodes[closest]
        if node.cut:
            return None
        if closest != name:
            if DNAME in node.rrsets:
                return self._renamed(name, closest, node)
            wildcard = tree.nodes.get(WILDCARD + closest)
            if wildcard is None:
                return [], NXDOMAIN, None
            node = wildcard
        if node.service is not None or node.whoami:
            return None
        if CNAME in node.rrsets:
            return [(name, node.rrsets[CNAME])], NOERROR, None
        return [], NOERROR, node

    def _renamed(
        self, name: bytes, owner: bytes, node: NameNode
    ) -> tuple[list[Link], int, NameNode | None]:
        rrset = node.rrsets[DNAME]
        made = alias(name, len(name) - len(owner), rrset.names[0], rrset.ttl)
        if made is None:
            return [(owner, rrset)], YXDOMAIN, None
        return [(owner, rrset), (name, made)], NOERROR, None

    def _ending(self, name: bytes, links: list[Link], zone: int, rcode: int) -> Body:
        writer = _writer(name, links)
        apex = next(apex for apex, index in self._tree.apexes.items() if index == zone)
        writer.add(apex, self._negative[zone], AUTHORITY)
        return writer.body(rcode)


def _loops(links: Iterable[Link], end: bytes) -> bool:
    """Whether a chain to `end` would not end, which a DNAME into its own subtree ensures."""
    return any(
        owner == end if rrset.type == CNAME else within(rrset.names[0], owner)
        for owner, rrset in links
    )


def _writer(name: bytes, links: Iterable[Link]) -> BodyWriter:
    writer = BodyWriter(name)
    for owner, rrset in links:
        writer.add(owner, rrset)
    return writer


def _body(name: bytes, links: Iterable[Link], *, rcode: int = NOERROR) -> Body:
    return _writer(name, links).body(rcode)


def _target(owner: bytes, kind: int, value: Rdata) -> bytes | None:
    """The host that a record names, whose addresses are additional data; None: another type."""
    if kind in (NS, MX):
        return value.parts[-1]
    if kind == SRV:
        return value.parts[0][6:]
    if kind in (HTTPS, SVCB):
        target = _service_target(value.parts[0])
        return owner if target == ROOT else target
    return None


def _service_target(rdata: bytes) -> bytes:
    """The TargetName of an SVCB or HTTPS record, behind its priority (RFC 9460 §2.2)."""
    end = 2
    while rdata[end]:
        end += rdata[end] + 1
    return rdata[2 : end + 1]
