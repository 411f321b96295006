"""A small world for the allocator: three relay regions, two transceiver regions, one key."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from firsthop_allocator.allocations.allocation import (
    ENTROPY_LENGTH,
    Allocation,
    AllocationRequest,
    allocate,
)
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_ice.ufrag import CredentialKeys
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import (
    CredentialKey,
    KeySet,
    Latency,
    Prices,
    RelayStatus,
    Status,
)
from support.worlds import NOW, europe_and_america, plan_of, status_of

BERLIN, NEW_YORK, SAO_PAULO, NOWHERE = "10.1.1.1", "20.1.1.1", "30.1.1.1", "99.1.1.1"
REGIONS: list[dict[str, Any]] = [
    {"id": "fra", "latitude": 50.1, "longitude": 8.7},
    {"id": "iad", "latitude": 39.0, "longitude": -77.5},
    {"id": "gru", "latitude": -23.5, "longitude": -46.6},
]
RELAYS: list[dict[str, Any]] = [
    {
        "id": f"{each['id']}-{n}",
        "region": each["id"],
        "ipv4": f"192.0.2.{place * 10 + n}",
        "ipv6": f"2001:db8::{place * 10 + n}",
        "udp_port": 3478 + n,
    }
    for place, each in enumerate(REGIONS, start=1)
    for n in (1, 2)
]
MEDIA: list[dict[str, Any]] = [
    {"id": "eu", "wire_id": 7, "latitude": 50.0, "longitude": 8.0},
    {"id": "us", "wire_id": 300, "latitude": 39.0, "longitude": -77.0},
]
TRANSCEIVERS: list[dict[str, Any]] = [
    {"id": f"{each['id']}-t", "region": each["id"], "host": f"10.0.0.{n}", "port": 4000}
    for n, each in enumerate(MEDIA, start=1)
]
SERVICE = {"id": "relay", "name": "relay.edge.example."}
KEYS = CredentialKeys.from_keyset(
    KeySet(
        number=1,
        lineage="test",
        created_at=NOW,
        signing=5,
        keys=(CredentialKey(id=5, route="ab" * 32, password="cd" * 32, created_at=NOW),),
    )
)
ENTROPY = bytes(range(ENTROPY_LENGTH))


def atlas_of(*, service: dict[str, Any] | None = None, **document: Any) -> Topology:
    """The world's plan with some collections, or fields of the service, put in place."""
    plan = plan_of(
        {
            "regions": REGIONS,
            "relays": RELAYS,
            "transceiver_regions": MEDIA,
            "transceivers": TRANSCEIVERS,
            "services": [{**SERVICE, **(service or {})}],
            **document,
        },
        number=41,
    )
    return Topology(plan, europe_and_america())


def state_of(
    status: Status | None = None,
    *,
    service: dict[str, Any] | None = None,
    latency: Latency | None = None,
    prices: Prices | None = None,
    **document: Any,
) -> AllocatorState:
    """A state of that plan."""
    topology = atlas_of(service=service, **document)
    rtt = RttMap(topology, latency)
    steering = Steering(topology, status or status_of(number=7), NOW, rtt=rtt, prices=prices)
    return AllocatorState(steering, KEYS)


def all_down() -> Status:
    """Every relay of the world is down."""
    relays = {str(each["id"]): RelayStatus(verdict="down") for each in RELAYS}
    return status_of().model_copy(update={"relays": relays})


def changed(objects: list[dict[str, Any]], **fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects with some fields of some changed (hyphens of ids written as underscores)."""
    return [{**each, **fields.get(str(each["id"]).replace("-", "_"), {})} for each in objects]


def ask(
    state: AllocatorState, client: str = BERLIN, *, entropy: bytes = ENTROPY, **fields: Any
) -> Allocation | AllocationRefused:
    """One allocation for `client` at NOW."""
    request = AllocationRequest(address=ip_address(client), source="client_ip", **fields)
    return allocate(state, request, now=NOW, entropy=entropy)


def allocated(state: AllocatorState, client: str = BERLIN, **fields: Any) -> Allocation:
    """`ask` where it must succeed."""
    made = ask(state, client, **fields)
    assert isinstance(made, Allocation), made
    return made


def refused(state: AllocatorState, client: str = BERLIN, **fields: Any) -> AllocationRefused:
    """`ask` where it must not."""
    made = ask(state, client, **fields)
    assert isinstance(made, AllocationRefused), made
    return made
