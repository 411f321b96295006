"""Alias chains whose owner is known only at query time: below a DNAME, or under a wildcard.

They are followed inside their zone, link by link, as `answer_bodies` follows those of known names
(RFC 1034 §4.3.2, RFC 6672 §3.2). Each further name is written in full in the link that leads to it,
so its records can point there.
"""

from __future__ import annotations

import struct

from firsthop_dns.table.layout import LONGEST_CHAIN, OTHER_TYPES, REFERRAL
from firsthop_dns.table.mapped import MappedName, Zones, ZoneView
from firsthop_dns.wire.edns import NOERROR, NXDOMAIN, YXDOMAIN
from firsthop_dns.wire.names import behind_owner, within
from firsthop_dns.wire.query import ANY, CNAME, DNAME, DS, IN, TXT

_LONGEST_NAME = 255
_RECORD = struct.Struct(">HHHIH")
_TTL, _DATA = 4, 10
"""Offsets of TTL and data from the type of a record."""


class Trail:
    """The links found so far, as records after the question of one message."""

    def __init__(self, zones: Zones, zone: ZoneView, name: bytes, qtype: int) -> None:
        self.rcode = NOERROR
        self.answers = self.authorities = self.additionals = 0
        self.octets = b""
        self._zones = zones
        self._zone = zone
        self._qtype = qtype
        self._name, self._name_at = name, 12
        self._start = 12 + len(name) + 4
        self._seen = {name}

    def follow(self, node: MappedName) -> None:
        """Follow the chain of the query name; `node` is its ancestor with a DNAME, or wildcard."""
        for _ in range(LONGEST_CHAIN):
            if self._link(node) or self._qtype in (CNAME, ANY) or self._name in self._seen:
                return
            self._seen.add(self._name)
            found = self._zones.find(self._name)
            if found is None or found.zone is not self._zone:
                return
            following = self._leads_on(found)
            if following is None:
                return
            node = following

    def _link(self, node: MappedName) -> bool:
        """Adds the link from the current name; True if it is the last.

        That is so if the next name is too long, or if a DNAME leads into its own subtree.
        """
        if not node.renames:
            alias = self._add(node, node.types[CNAME])
            data = behind_owner(alias) + _DATA
            self._go(alias[data:], len(self.octets) - len(alias) + data)
            return False
        dname = self._add(node, node.types[DNAME], literal=True)
        fields = behind_owner(dname)
        top = dname[fields + _DATA :]
        target = self._name[: len(self._name) - len(node.name)] + top
        if len(target) > _LONGEST_NAME:  # RFC 6672 §2.2
            self.rcode = YXDOMAIN
            return True
        ttl = int.from_bytes(dname[fields + _TTL : fields + _TTL + 4], "big")
        owner = 0xC000 | self._name_at
        self.octets += _RECORD.pack(owner, CNAME, IN, ttl, len(target)) + target
        self.answers += 1
        self._go(target, len(self.octets) - len(target))
        return within(top, node.name)

    def _go(self, name: bytes, offset: int) -> None:
        self._name, self._name_at = name, self._start + offset

    def _leads_on(self, node: MappedName) -> MappedName | None:
        """The node of the next link; None at the end of the chain, once its records are added."""
        has_suffix = len(self._name) != len(node.name)
        if node.cut and (has_suffix or self._qtype != DS):
            self._add(node, node.types[REFERRAL], literal=True)
            return None
        if has_suffix:
            if node.renames:
                return node
            source = self._zones.wildcard(node)
            if source is None:
                self._deny(NXDOMAIN)
                return None
            node = source
        if CNAME in node.types and OTHER_TYPES not in node.types:
            return node  # a wildcard's alias: its chain is not known before the query
        if node.service is not None or (node.whoami and self._qtype == TXT):
            return None  # a tailored answer is cached separately (RFC 7871 §7.2.1)
        offset = node.types.get(self._qtype, node.types.get(OTHER_TYPES))
        if offset is None:
            self._deny(NOERROR)
        else:
            self._add(node, offset)
        return None

    def _deny(self, rcode: int) -> None:
        self._append(self._zone.denial, self._zone.apex)
        self.rcode = rcode

    def _add(self, node: MappedName, offset: int, *, literal: bool = False) -> bytes:
        return self._append(offset, node.name, literal=literal)

    def _append(self, offset: int, base: bytes, *, literal: bool = False) -> bytes:
        """Adds a body, without its spare records, and returns its octets."""
        body = self._zones.body(offset)
        body_at = self._start + len(self.octets)
        octets = body.moved(base, self._name_at, len(self._name), body_at, literal=literal)
        octets = octets[: body.spare_at]
        answers, authorities, additionals, _ = body.counts
        self.octets += octets
        self.answers += answers
        self.authorities += authorities
        self.additionals += additionals
        self.rcode = body.rcode
        return octets
