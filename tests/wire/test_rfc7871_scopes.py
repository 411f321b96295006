"""RFC 7871 §7.2.1: an answer holds everywhere inside its scope, and scopes do not overlap.

Put to a server over the bundled database and a plan with weights, several relays and overrides, for
thousands of random client subnets.
"""

from __future__ import annotations

import random
import socket
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.table.layout import SECTION
from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status
from firsthop_steering.plan.document import Document
from firsthop_zones.names import to_wire

MakeServer = Any  # conftest.MakeServer

ASKED = 2_000
SEED = 7871
SERVICE = "relay.edge.example."
PLACES = {
    "iad": (39.04, -77.49, 100),
    "sjc": (37.34, -121.89, 70),
    "gru": (-23.55, -46.63, 100),
    "fra": (50.11, 8.68, 50),
    "jnb": (-26.20, 28.05, 100),
    "bom": (19.08, 72.88, 100),
    "sin": (1.35, 103.82, 0),
    "syd": (-33.87, 151.21, 100),
}
"""Degrees and weight."""
OVERRIDES: tuple[dict[str, Any], ...] = (
    {"cidr": "10.1.0.0/16", "mode": "only", "regions": ["bom"]},
    {"cidr": "81.2.69.128/26", "mode": "prefer", "regions": ["jnb"]},
    {"cidr": "fd00:77::/32", "mode": "only", "regions": ["syd"]},
    {"cidr": "2a02:26f0::/29", "mode": "avoid", "regions": ["fra"]},
    {"country": "JP", "mode": "prefer", "regions": ["sjc", "iad"]},
    {"continent": "AF", "mode": "only", "regions": ["jnb", "fra"]},
)
EMBEDDED = tuple(map(IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "::/64")))
"""Blocks in which addresses are, or stand beside, IPv4 addresses."""


def _document() -> Document:
    return Document.model_validate(
        {
            "regions": [
                {"id": id_, "latitude": latitude, "longitude": longitude, "weight": weight}
                for id_, (latitude, longitude, weight) in PLACES.items()
            ],
            "relays": [
                {"id": f"{id_}-{k}", "region": id_, "ipv4": f"192.0.2.{10 * number + k}"}
                for number, id_ in enumerate(PLACES, start=1)
                for k in range(3 if id_ == "gru" else 1)
            ],
            "zones": [
                {
                    "apex": "edge.example.",
                    "primary": "ns1.edge.example.",
                    "contact": "hostmaster.edge.example.",
                    "name_servers": ["ns1.edge.example."],
                }
            ],
            "services": [{"id": "relay", "name": SERVICE, "answers": 2}],
            "overrides": [{"id": f"o{n}", **each} for n, each in enumerate(OVERRIDES)],
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> AnswerTable:
    """The compiled table."""
    folder: Path = tmp_path_factory.mktemp("scopes")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    plan = Plan(number=1, lineage="scopes", created_at=now, document=_document())
    relays = {"iad-0": RelayStatus(verdict="down"), "fra-0": RelayStatus(verdict="up")}
    status = Status(number=1, lineage="scopes", created_at=now, relays=relays)
    steering = Steering(Topology(plan, open_geodata(None, None, folder)), status, now)
    compile_table(
        steering,
        folder / "table",
        lambda services: {SECTION: encode_zones(plan.document, plan.number, services)},
    )
    return AnswerTable.open(folder / "table")


@dataclass(frozen=True, slots=True)
class Subnet:
    """A client subnet as it is asked; `bits` is the size of its family's addresses."""

    bits: int
    address: int
    source: int

    def option(self) -> bytes:
        octets = (self.address.to_bytes(self.bits // 8, "big"))[: (self.source + 7) // 8]
        family = 1 if self.bits == 32 else 2
        return struct.pack(">HHHBB", 8, 4 + len(octets), family, self.source, 0) + octets

    def block(self, scope: int) -> tuple[int, int]:
        """First and last address of the scope."""
        size = 1 << self.bits - scope
        low = self.address // size * size
        return low, low + size - 1


Reply = tuple[tuple[bytes, ...], int]
"""The answer's records without their owner, sorted; SCOPE."""


@dataclass
class SubnetAsker:
    """Sends client subnets for one name to one server, over UDP."""

    sock: socket.socket
    _id: int = 0

    def ask(self, *subnets: Subnet) -> list[Reply]:
        """The replies, in order."""
        first = self._id
        replies: dict[int, bytes] = {}
        for subnet in subnets:
            option = subnet.option()
            self.sock.send(
                struct.pack(">6H", self._id & 0xFFFF, 0, 1, 0, 0, 1)
                + to_wire(SERVICE)
                + struct.pack(">2H", 1, 1)
                + struct.pack(">BHHIH", 0, 41, 1232, 0, len(option))
                + option
            )
            self._id += 1
        while len(replies) < len(subnets):
            packet = self.sock.recv(4096)
            replies[int.from_bytes(packet[:2], "big")] = packet
        return [
            read(replies[first + place & 0xFFFF], subnet) for place, subnet in enumerate(subnets)
        ]


def read(packet: bytes, subnet: Subnet) -> Reply:
    """Reads one answer whose records all have the question's name, as a pointer."""
    flags, questions, answers, authorities, more = struct.unpack_from(">5H", packet, 2)
    assert flags == 0x8400, "an authoritative answer without error"
    assert (questions, authorities, more) == (1, 0, 1)
    place = 12 + len(to_wire(SERVICE)) + 4
    records = []
    for _ in range(answers):
        (length,) = struct.unpack_from(">H", packet, place + 10)
        assert packet[place : place + 2] == b"\xc0\x0c"
        records.append(packet[place + 2 : place + 12 + length])
        place += 12 + length
    option = subnet.option()
    echoed = packet[place + 11 :]
    assert echoed[:7] + b"\0" + echoed[8:] == option, "FAMILY, SOURCE and ADDRESS go back"
    return tuple(sorted(records)), echoed[7]


def subnets(table: AnswerTable, rng: random.Random, count: int) -> list[Subnet]:
    """Random ones of both families; many at the edges of the table and in special blocks."""
    service = table.services[0]
    edges = {
        32: [int(each) for each in service.ranges(4)[0]],
        128: [int(each) << 64 for each in service.ranges(6)[0]],
    }
    blocks: dict[int, list[tuple[int, int]]] = {32: [], 128: []}
    cidrs = [ip_network(each["cidr"]) for each in OVERRIDES if "cidr" in each]
    for block in (*SPECIAL_PURPOSE, *EMBEDDED, *cidrs):
        blocks[block.max_prefixlen].append((int(block[0]), int(block[-1])))
    found = []
    for number in range(count):
        bits = rng.choice([32, 128])
        first, last = rng.choice(blocks[bits])
        address = (
            rng.getrandbits(bits),
            rng.choice(edges[bits]) - rng.randint(0, 1),
            rng.choice([first - 1, first, last, last + 1]),
            rng.randint(first, last),
            rng.getrandbits(bits) >> 3 | 1 << bits - 3,  # 2000::/3 is what IPv6 is used of
        )[number % 5] % 2**bits
        source = rng.choice([rng.randint(1, bits), 24 if bits == 32 else 56, bits])
        found.append(Subnet(bits, address >> bits - source << bits - source, source))
    return found


def test_an_answer_holds_inside_its_scope_and_scopes_do_not_overlap(
    serve: MakeServer, world: AnswerTable
) -> None:
    """First, last and random addresses of a scope get the same records with the same scope."""
    target = serve("127.0.0.1")
    target.server.swap(Tables(world, Instance.of(DnsCounters(), {})))
    rng = random.Random(SEED)
    blocks: dict[int, set[tuple[int, int]]] = {32: set(), 128: set()}
    with target.datagrams() as sock:
        asker = SubnetAsker(sock)
        for subnet in subnets(world, rng, ASKED):
            ((records, scope),) = asker.ask(subnet)
            assert records
            low, high = subnet.block(scope)
            inside = (low, high, rng.randint(low, high), rng.randint(low, high))
            again = asker.ask(*(Subnet(subnet.bits, each, subnet.bits) for each in inside))
            assert again == [(records, scope)] * len(inside), (subnet, scope)
            blocks[subnet.bits].add((low, high))
    for bits, seen in blocks.items():
        assert len(seen) > 400, bits
        for before, after in pairwise(sorted(seen)):
            assert before[1] < after[0], (bits, before, after)


@pytest.mark.parametrize(
    ("client", "scope"),
    [("192.168.1.0", 16), ("172.20.0.0", 12), ("fe80::", 9), ("2002:c0a8:100::", 32), ("::1", 81)],
)
def test_special_purpose_subnets_are_answered_by_the_resolvers_address(
    serve: MakeServer, world: AnswerTable, client: str, scope: int
) -> None:
    """§10; SCOPE is the special-purpose block, and the records are those of one without ECS."""
    target = serve("127.0.0.1")
    target.server.swap(Tables(world, Instance.of(DnsCounters(), {})))
    address = ip_address(client)
    with target.datagrams() as sock:
        bits = address.max_prefixlen
        ((records, said),) = SubnetAsker(sock).ask(Subnet(bits, int(address), bits))
    assert said == scope
    plain = target.ask(SERVICE)
    assert sorted(each.to_text() for each in plain.answer[0]) == sorted(
        str(IPv4Address(each[-4:])) for each in records
    )
