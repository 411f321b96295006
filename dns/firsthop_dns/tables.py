"""What one worker answers from: a mapped answer table, its zones, and slots for counting.

Built once for every table, off no packet's path; `respond` only reads it. The memo of encoded
answers fills as they are first given.
"""

from __future__ import annotations

from collections.abc import Sequence

from firsthop_dns.counters import REGION_ANSWERS, TYPE_LABELS, Counters
from firsthop_dns.edns import DO, NOERROR, OPT, PAYLOAD, PLAIN_PAYLOAD, RCODE_NAMES
from firsthop_dns.mapped import Zones, ZoneView
from firsthop_dns.wire import AAAA, IN, A
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.table import ASK_RESOLVER, AnswerTable, ServiceTable

RECORD_SIZE = {A: 16, AAAA: 28}
"""Octets of a steered record: pointer, fixed part, address."""
Variant = tuple[int, bytes, bytes, int]
"""Records; RRset and OPT up to FAMILY with DO clear; the same with DO set; slot of the region."""

_SUBNET_24 = bytes.fromhex("000b 0008 0007 0001")
"""RDLEN of an OPT that holds one option: a client subnet of family 1 with three octets."""
_TAIL_OCTETS = 22


class SteeredName:
    """One service as the zones know it."""

    __slots__ = ("index", "name", "slots", "table", "zone")

    def __init__(
        self, index: int, name: bytes, zone: ZoneView, table: ServiceTable, slots: list[int]
    ) -> None:
        self.index = index
        self.name = name
        self.zone = zone
        self.table = table
        self.slots = slots
        """Slots of the regions that its answers name, an answer each."""


class Lane:
    """All that `respond` needs to answer one steered name and type by the shortest way."""

    __slots__ = (
        "_qtype",
        "_size",
        "_steered",
        "_zones",
        "lookup",
        "noerror",
        "requests",
        "variants",
    )

    def __init__(self, zones: Zones, steered: SteeredName, qtype: int, counters: Counters) -> None:
        self._zones = zones
        self._steered = steered
        self._qtype = qtype
        self._size = 12 + len(steered.name) + 4 + _TAIL_OCTETS
        self.lookup = steered.table.lookup
        # One more than there are answers: ASK_RESOLVER is for the slow lane.
        self.variants: list[Variant | None] = [None] * (len(steered.table.answers) + 1)
        self.requests = counters.requests(steered.zone.label, TYPE_LABELS[qtype])
        self.noerror = counters.response(steered.zone.label, RCODE_NAMES[NOERROR])

    def fill(self, answer: int) -> Variant | None:
        """Encodes an answer and keeps it; None if it is empty or does not fit any client."""
        if answer == ASK_RESOLVER:
            return None
        rrset = self._zones.rrset(self._steered.index, answer, self._qtype == AAAA)
        if not rrset or self._size + len(rrset) > PLAIN_PAYLOAD:
            return None
        plain, dnssec_ok = (
            rrset
            + b"\0"
            + OPT.to_bytes(2, "big")
            + PAYLOAD.to_bytes(2, "big")
            + flags.to_bytes(4, "big")
            + _SUBNET_24
            for flags in (0, DO)
        )
        count = len(rrset) // RECORD_SIZE[self._qtype]
        variant = count, plain, dnssec_ok, self._steered.slots[answer]
        self.variants[answer] = variant
        return variant


class Tables:
    """One generation of everything. Raises SectionError when `table` has no zones we can read."""

    def __init__(
        self, table: AnswerTable, counters: Counters, *, geo: GeoTable | None = None
    ) -> None:
        self.counters = counters
        self.geo = geo
        """For whoami alone: what is known of the asker's place."""
        self.plan = table.plan
        self.status = table.status
        self.digest = table.digest
        self.zones = Zones.of(table)
        self.services = tuple(
            SteeredName(index, name, node.zone, service, _region_slots(service, counters))
            for index, ((name, node), service) in enumerate(
                zip(self.zones.services, table.services, strict=True)
            )
        )
        self.lanes = self._lanes(self.services)

    def _lanes(self, services: Sequence[SteeredName]) -> dict[bytes, Lane]:
        """By the octets of the question, lower-cased: name, type, class."""
        return {
            each.name + qtype.to_bytes(2, "big") + IN.to_bytes(2, "big"): Lane(
                self.zones, each, qtype, self.counters
            )
            for each in services
            if each.table.ecs
            for qtype in (A, AAAA)
        }


def _region_slots(service: ServiceTable, counters: Counters) -> list[int]:
    return [
        counters.slot(
            REGION_ANSWERS, {"service": service.id, "region": answer.region or answer.outcome}
        )
        for answer in service.answers
    ]
