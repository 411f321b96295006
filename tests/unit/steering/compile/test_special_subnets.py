"""Client subnets that say nothing: private and special-purpose space (RFC 7871 §10)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

import pytest

from firsthop_geodata.addresses import SPECIAL_PURPOSE, normalise, special_block
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import ASK_RESOLVER, AnswerTable, ServiceTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.whatif.explain import explain
from support.worlds import NOW, folder, plan_of, status_of

OTHERS = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
"""Documentation prefixes, which stand for clients."""


def nowhere(*placed: tuple[int, int]) -> GeoTable:
    """A map in which all IPv4 but the ranges `placed` (first and last) is nowhere."""
    starts, cells = [0], [NO_CELL]
    for first, last in placed:
        starts += [first, last + 1]
        cells += [0, NO_CELL]
    path = folder() / "nowhere.fhg"
    write_table(path, cells=[Cell(52.5, 13.4, "DE", "EU", "Berlin")], v4=(starts, cells))
    return GeoTable.open(path)


def steered(*overrides: dict[str, Any], geo: GeoTable | None = None, weight: int = 100) -> Steering:
    """`fra` beside the map's only place, `iad` far away; `weight` is that of `fra`."""
    plan = plan_of(
        {
            "regions": [
                {"id": "fra", "latitude": 50.1, "longitude": 8.7, "weight": weight},
                {"id": "iad", "latitude": 39.0, "longitude": -77.5},
            ],
            "relays": [
                {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"},
                {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.2"},
            ],
            "services": [{"id": "s", "name": "s.edge.example."}],
            "overrides": overrides,
        }
    )
    return Steering(Topology(plan, geo or nowhere()), status_of(), NOW)


def compiled(steering: Steering) -> ServiceTable:
    path = folder() / "special.table"
    compile_table(steering, path)
    return AnswerTable.open(path).services[0]


def looked_up(table: ServiceTable, text: str) -> tuple[str | None, int]:
    """Region (None: ask the resolver) and scope, in bits of the address as it is written."""
    family, key, before = normalise(ip_address(text))
    answer, scope = table.lookup(family, key)
    return None if answer == ASK_RESOLVER else table.answers[answer].region, scope + before


@pytest.mark.parametrize(
    ("client", "scope"),
    [
        ("10.1.2.0", 8),
        ("0.0.0.0", 8),
        ("127.0.0.1", 8),
        ("100.127.255.255", 10),
        ("172.16.0.0", 12),
        ("172.31.255.255", 12),
        ("169.254.7.7", 16),
        ("192.168.1.1", 16),
        ("192.0.0.8", 24),
        ("198.19.255.255", 15),
        ("224.0.0.1", 3),  # its neighbour 240/4 asks the resolver as well
        ("255.255.255.255", 3),
        ("fd00:1:2::1", 7),
        ("fe80::1", 9),  # with fec0::/10
        ("ff02::1", 8),
        ("100::5", 64),
        ("::1", 81),  # ::ffff:0:0/96 is left out
        ("2002:a01:203::", 24),
        ("::ffff:10.1.2.3", 104),
    ],
)
@pytest.mark.parametrize("weight", [100, 50])
def test_the_resolver_is_asked_for_the_whole_block(client: str, scope: int, weight: int) -> None:
    """RFC 7871 §10's own example is 10.1.2.0: scope 8. Weights split no such block."""
    assert looked_up(compiled(steered(weight=weight)), client) == (None, scope)


@pytest.mark.parametrize("network", OTHERS)
def test_documentation_prefixes_are_clients(network: str) -> None:
    """They stand for clients in every example of ours."""
    table = compiled(steered())
    assert looked_up(table, str(ip_network(network)[1]))[0] == "fra"


def test_scopes_end_at_the_edges_of_special_blocks() -> None:
    """On both sides: prefixes with different answers must not overlap (RFC 7871 §7.2.1)."""
    table = compiled(steered())
    assert looked_up(table, "9.255.255.255") == ("fra", 7)
    assert looked_up(table, "11.0.0.0") == ("fra", 8)
    assert looked_up(table, "192.0.1.0") == ("fra", 24)
    assert looked_up(table, "223.255.255.255") == ("fra", 4)


def test_an_operator_who_places_it_is_obeyed() -> None:
    """A database or an override that speaks of it; the rest of the block still asks."""
    table = compiled(steered(geo=nowhere((10 << 24, (10 << 24) + 0xFFFF))))
    assert looked_up(table, "10.0.7.7") == ("fra", 16)
    assert looked_up(table, "10.1.0.0") == (None, 16)
    assert looked_up(table, "10.128.0.0") == (None, 9)
    office = {"id": "o", "cidr": "10.1.0.0/16", "mode": "only", "regions": ["iad"]}
    table = compiled(steered(office))
    assert looked_up(table, "10.1.2.3") == ("iad", 16)
    assert looked_up(table, "10.0.2.3") == (None, 16)
    all_of_it = {"id": "o", "cidr": "10.0.0.0/8", "mode": "only", "regions": ["fra"]}
    table = compiled(steered(all_of_it, geo=nowhere((11 << 24, (12 << 24) - 1))))
    assert looked_up(table, "10.1.2.3") == ("fra", 5), "one block with its equal neighbours"


@pytest.mark.parametrize("weight", [100, 50])
def test_who_stands_there_is_answered_like_anybody_unlocated(weight: int) -> None:
    """A resolver at 10.1.2.3 must get an answer, by its own bucket."""
    steering = steered(weight=weight)
    table, service = compiled(steering), steering.topology.services["s"]
    regions = set()
    for number in range(200):
        client = steering.topology.client(ip_address((10 << 24) + (number << 8)))
        site = steering.decide(service, client).site
        assert site is not None
        assert table.answers[table.settle(client.family, client.key)].region == site.id
        regions.add(site.id)
    assert regions == ({"fra"} if weight == 100 else {"fra", "iad"})


def test_explain_says_whose_address_dns_takes() -> None:
    """In words, and only where it is so."""
    steering = steered({"id": "o", "cidr": "10.0.0.0/8", "mode": "avoid", "regions": ["iad"]})
    service = steering.topology.services["s"]
    said = explain(steering, service, ip_address("192.168.1.1"))["client"]["as_subnet"]
    assert "resolver's address" in said
    assert "192.168.0.0/16" in said
    for plain in ("10.1.1.1", "192.0.2.1", "8.8.8.8"):
        assert explain(steering, service, ip_address(plain))["client"]["as_subnet"] is None
    without = service.model_copy(update={"ecs": False})
    assert "ECS is off" in explain(steering, without, ip_address("8.8.8.8"))["client"]["as_subnet"]


def test_the_blocks_are_ascending_and_apart() -> None:
    """`compile` finds the block of a range by bisection."""
    for version in (4, 6):
        blocks = [block for block in SPECIAL_PURPOSE if block.version == version]
        assert int(blocks[0][0]) == 0
        assert all(int(a[-1]) < int(b[0]) for a, b in pairwise(blocks))
    assert special_block(ip_address("2002:c0a8:101::")) == ip_network("192.168.0.0/16")
    assert special_block(ip_address("2001:db8::1")) is None
