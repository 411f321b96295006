"""One generation of a worker's data: mapped answer table, zones, and counter slots.

Built once for each table, outside the packet path; `respond` only reads it. Encoded answers are
memoised when they are first sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from firsthop_dns.answer.client_keys import ClientKey
from firsthop_dns.answer.counters import REGION_ANSWERS, TYPE_LABELS, DnsCounters
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.rate_limit import MAX_GAIN
from firsthop_dns.table.layout import STEERED
from firsthop_dns.table.mapped import MappedName, Zones
from firsthop_dns.wire.edns import DO, NOERROR, OPT, PAYLOAD, PLAIN_PAYLOAD, RCODE_NAMES
from firsthop_dns.wire.query import AAAA, IN, A
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import ASK_RESOLVER, AnswerTable, ServiceTable

Variant = tuple[int, bytes, bytes, int]
"""Number of records; RRset and OPT up to FAMILY with DO clear; the same with DO set; the region's
counter slot."""

_SUBNET_24 = bytes.fromhex("0008 0007 0001")
"""A client subnet option of family 1 with three octets, up to FAMILY."""
_SUBNET_24_OCTETS = 11
_OPT_OCTETS = 11


class SteeredNameSlot:
    """One service: its index, its node in the zones, its table, its counter slots."""

    __slots__ = ("index", "node", "slots", "table")

    def __init__(self, index: int, node: MappedName, table: ServiceTable, slots: list[int]) -> None:
        self.index = index
        self.node = node
        self.table = table
        self.slots = slots
        """Counter slot of the region of each answer."""

    def choose(self, client: ClientKey | None, resolver: ClientKey, qtype: int) -> tuple[int, int]:
        """Answer and scope for a client subnet; if it does not decide, the resolver's answer."""
        table = self.table_for(qtype)
        answer, scope = ASK_RESOLVER, 0
        if client is not None and table.ecs:
            family, key, embedded = client
            answer, scope = table.lookup(family, key)
            scope += embedded
        if answer == ASK_RESOLVER:
            family, key, _ = resolver
            answer = table.settle(family, key)
        return answer, scope

    def table_for(self, qtype: int) -> ServiceTable:
        """The table that decides for queries of a type."""
        return self.table.aaaa if qtype == AAAA else self.table


class FastLane:
    """The data with which `respond` answers one steered name and type on its fast lane."""

    __slots__ = (
        "_kind",
        "_limit",
        "_notice",
        "_steered",
        "_zones",
        "lookup",
        "noerror",
        "requests",
        "variants",
    )

    def __init__(
        self, zones: Zones, steered: SteeredNameSlot, qtype: int, instance: Instance
    ) -> None:
        self._zones = zones
        self._steered = steered
        self._kind = STEERED.index(qtype)
        self._notice = instance.notice
        query_size = 12 + len(steered.node.name) + 4 + _OPT_OCTETS + _SUBNET_24_OCTETS
        longest = min(PLAIN_PAYLOAD, MAX_GAIN * query_size)
        self._limit = longest - query_size - len(self._notice)
        """Octets of the longest RRset that every client accepts and that needs no budget."""
        self.lookup = steered.table_for(qtype).lookup
        self.variants: list[Variant | None] = [None] * (len(steered.table.answers) + 1)
        """Encoded answers, by answer; the last one, for `ASK_RESOLVER`, stays None."""
        label = steered.node.zone.label
        self.requests = instance.counters.requests(label, TYPE_LABELS[qtype])
        self.noerror = instance.counters.response(label, RCODE_NAMES[NOERROR])

    def fill(self, answer: int) -> Variant | None:
        """Encodes and keeps an answer; None if it is empty, or too long for this lane."""
        if answer < 0:
            return None
        count, rrset = self._zones.rrset(self._steered.index, answer, self._kind)
        if not rrset or len(rrset) > self._limit:
            return None
        options = len(self._notice) + _SUBNET_24_OCTETS
        plain, dnssec_ok = (
            rrset
            + b"\0"
            + OPT.to_bytes(2, "big")
            + PAYLOAD.to_bytes(2, "big")
            + flags.to_bytes(4, "big")
            + options.to_bytes(2, "big")
            + self._notice
            + _SUBNET_24
            for flags in (0, DO)
        )
        variant = count, plain, dnssec_ok, self._steered.slots[answer]
        self.variants[answer] = variant
        return variant


class Tables:
    """One generation. Raises SectionError if `table` has no readable zones."""

    ready = True

    def __init__(
        self, table: AnswerTable, instance: Instance, *, geo: GeoTable | None = None
    ) -> None:
        self.geo = geo
        """For whoami only: the location of the requester."""
        self.plan = table.plan
        self.status = table.status
        self.guidance = table.guidance
        self.digest = table.digest
        self.zones = Zones.of(table)
        self._attach(instance)
        self.services = tuple(
            SteeredNameSlot(index, node, service, _region_slots(service, instance.counters))
            for index, (node, service) in enumerate(
                zip(self.zones.services, table.services, strict=True)
            )
        )
        self.lanes = self._lanes(self.services)

    def _attach(self, instance: Instance) -> None:
        self.instance = instance
        self.counters = instance.counters
        self.values = instance.counters.values
        self.survey = instance.survey
        self.limit = instance.limits.verdict
        self.gain_limit = instance.limits.gain_verdict

    @classmethod
    def unready(cls, instance: Instance) -> Tables:
        """The generation before the first table: every answer is SERVFAIL, not ready."""
        made = cls.__new__(cls)
        made.ready = False
        made.geo, made.plan, made.status, made.digest = None, 0, 0, ""
        made.services, made.lanes = (), {}
        made._attach(instance)
        return made

    def _lanes(self, services: Sequence[SteeredNameSlot]) -> dict[bytes, FastLane]:
        """Fast lanes by the octets of the question in lower case: name, type, class."""
        if self.instance.ecs_from is not None:  # whether subnets are used depends on the resolver
            return {}
        return {
            each.node.name + qtype.to_bytes(2, "big") + IN.to_bytes(2, "big"): FastLane(
                self.zones, each, qtype, self.instance
            )
            for each in services
            if each.table.ecs
            for qtype in (A, AAAA)
        }


def _region_slots(service: ServiceTable, counters: DnsCounters) -> list[int]:
    """The counter slot of each answer; with the family of its addresses if the other family's may
    be of another region, for the planner."""
    apart = service.aaaa_answers
    return [
        counters.slot(
            REGION_ANSWERS,
            {
                "service": service.id,
                "region": answer.region or answer.outcome,
                "family": "" if apart is None else "ipv4" if index < apart else "ipv6",
            },
        )
        for index, answer in enumerate(service.answers)
    ]
