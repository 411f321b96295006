"""The bodies of all answers that do not depend on the asker, made when a table is compiled.

CNAME chains are followed here and not per query, as far as they lead through static names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firsthop_dns.edns import NOERROR, NXDOMAIN, YXDOMAIN
from firsthop_dns.layout import OTHER_TYPES, REFERRAL
from firsthop_dns.names import ROOT, within
from firsthop_dns.nodes import WILDCARD, Node, Tree, alias_target, dname_target
from firsthop_dns.rrset import (
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
from firsthop_dns.wire import CNAME, DNAME, DS, HTTPS, NS, SVCB

LONGEST_CHAIN = 8
"""CNAMEs put into one answer; a resolver asks on from the last."""
Link = tuple[bytes, RRset]


class Bodies:
    """Makes the bodies of one tree."""

    def __init__(self, tree: Tree, serial: int) -> None:
        self._tree = tree
        self._negative = [start_of_authority(zone, serial, negative=True) for zone in tree.zones]

    def negative(self, apex: bytes, zone: int) -> Body:
        """The SOA that says what a zone has not, for any name at or below its apex."""
        writer = BodyWriter(apex, grows=True)
        writer.add(apex, self._negative[zone], AUTHORITY)
        return writer.body()

    def of(self, name: bytes, node: Node) -> Iterator[tuple[int, Body]]:
        """A node's bodies by type; see `layout.TYPE` for those that stand for no one type."""
        grows = name.startswith(WILDCARD)
        if node.cut:
            yield REFERRAL, self._referral(name, node)
            if DS in node.rrsets:  # the parent's own (RFC 4035 §3.1.4.1)
                yield DS, _body(name, [(name, node.rrsets[DS])], grows=False)
            return
        if alias_target(node) is not None:
            yield CNAME, _body(name, [(name, node.rrsets[CNAME])], grows=grows)
            yield from self._chain(name, node, grows)
            return
        for kind, rrset in node.rrsets.items():
            plain = None if grows or kind in (DNAME, HTTPS, SVCB) else plain_body(rrset)
            yield kind, plain or self._own(name, rrset, grows)
        if node.parent is not None:
            yield DS, self._delegated(name, node, node.parent)

    def _own(self, name: bytes, rrset: RRset, grows: bool) -> Body:
        writer = BodyWriter(name, grows=grows or rrset.type == DNAME)
        writer.add(name, rrset)
        if rrset.type in (HTTPS, SVCB):  # RFC 9460 §4.1
            targets = (_service_target(value.parts[0]) for value in rrset.values)
            for target in dict.fromkeys(name if each == ROOT else each for each in targets):
                self._add_addresses(writer, target, SPARE)
        return writer.body()

    def _add_addresses(self, writer: BodyWriter, name: bytes, section: int) -> None:
        if name.startswith(WILDCARD):
            return
        for rrset in self._tree.addresses(name):
            writer.add(name, rrset, section)

    def _delegated(self, name: bytes, node: Node, zone: int) -> Body:
        """The DS of a zone whose parent is ours too, or the parent's word that there is none."""
        if node.delegated is None:
            return self._ending(name, [], zone, False, NOERROR)
        return _body(name, [(name, node.delegated)], grows=False)

    def _referral(self, name: bytes, node: Node) -> Body:
        """NS of the cut; all in-domain glue, then what else is known (RFC 9471 §2)."""
        writer = BodyWriter(name, grows=True)
        writer.add(name, node.rrsets[NS], AUTHORITY)
        targets = dict.fromkeys(node.rrsets[NS].names)
        for section, inside in ((ADDITIONAL, True), (SPARE, False)):
            for target in targets:
                if within(target, name) == inside and self._tree.zone_of(target) == node.zone:
                    self._add_addresses(writer, target, section)
        return writer.body(authoritative=False)

    def _chain(self, name: bytes, node: Node, grows: bool) -> Iterator[tuple[int, Body]]:
        """The bodies of an alias for each type that its end has, and for all others.

        The chain is followed inside the zone (RFC 1034 §4.3.2) and ends before a steered name,
        whose answer must be cached by itself (RFC 7871 §7.2.1). The rcode is that of the last
        name (RFC 6604 §3).
        """
        links: list[Link] = [(name, node.rrsets[CNAME])]
        end = node.rrsets[CNAME].names[0]
        while True:
            step = self._step(end, node.zone)
            if step is None or (step[0] and len(links) >= LONGEST_CHAIN):
                yield OTHER_TYPES, _body(name, links, grows=grows)
                return
            more, rcode, source = step
            if not more:
                break
            if _closes_a_loop(links, end, more[0], grows):
                yield OTHER_TYPES, _body(name, links, grows=grows)
                return
            links += more
            if rcode != NOERROR:
                yield OTHER_TYPES, _body(name, links, grows=grows, rcode=rcode)
                return
            end = more[-1][1].names[0]
        yield OTHER_TYPES, self._ending(name, links, node.zone, grows, rcode)
        if source is not None:
            for kind, rrset in source.rrsets.items():
                yield kind, _body(name, [*links, (end, rrset)], grows=grows)

    def _step(self, name: bytes, zone: int) -> tuple[list[Link], int, Node | None] | None:
        """Where a chain goes on from `name`: further links and an rcode, or the node of its end.

        None when others answer for the name: another zone, a delegation, a steered name.
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
        self, name: bytes, owner: bytes, node: Node
    ) -> tuple[list[Link], int, Node | None]:
        rrset = node.rrsets[DNAME]
        target = dname_target(node)
        assert target is not None
        made = alias(name, len(name) - len(owner), target, rrset.ttl)
        if made is None:
            return [(owner, rrset)], YXDOMAIN, None
        return [(owner, rrset), (name, made)], NOERROR, None

    def _ending(self, name: bytes, links: list[Link], zone: int, grows: bool, rcode: int) -> Body:
        writer = BodyWriter(name, grows=grows)
        for owner, rrset in links:
            writer.add(owner, rrset)
        apex = next(apex for apex, index in self._tree.apexes.items() if index == zone)
        writer.add(apex, self._negative[zone], AUTHORITY)
        return writer.body(rcode)


def _closes_a_loop(links: list[Link], end: bytes, following: Link, grows: bool) -> bool:
    if any(owner == end for owner, rrset in links if rrset.type == CNAME):
        return True
    return grows and following[1] is links[0][1]  # the wildcard's target is the wildcard again


def _body(name: bytes, links: Iterable[Link], *, grows: bool, rcode: int = NOERROR) -> Body:
    writer = BodyWriter(name, grows=grows)
    for owner, rrset in links:
        writer.add(owner, rrset)
    return writer.body(rcode)


def _service_target(rdata: bytes) -> bytes:
    """The TargetName of an SVCB or HTTPS record, behind its priority (RFC 9460 §2.2)."""
    end = 2
    while rdata[end]:
        end += rdata[end] + 1
    return rdata[2 : end + 1]
