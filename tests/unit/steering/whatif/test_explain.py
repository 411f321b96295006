"""An explanation is the decision itself, in words and numbers."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import RelayStatus, Status
from firsthop_steering.whatif.explain import explain
from support.worlds import NOW, europe_and_america, plan_of, status_of

DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": "fra", "latitude": 50.1, "longitude": 8.7, "bias_ms": 3},
        {"id": "iad", "latitude": 39.0, "longitude": -77.5},
        {"id": "old", "latitude": 0, "longitude": 20, "state": "draining"},
    ],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
        {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.2"},
        {"id": "old-1", "region": "old", "ipv4": "192.0.2.3"},
    ],
    "transceiver_regions": [{"id": "eu", "wire_id": 1, "latitude": 50, "longitude": 8}],
    "transceivers": [{"id": "eu-1", "wire_id": 1, "region": "eu", "host": "192.0.2.9", "port": 9}],
    "services": [{"id": "s", "name": "s.edge.example."}],
    "overrides": [{"id": "o", "country": "BR", "mode": "prefer", "regions": ["iad"]}],
}


def said(client: str, status: Status | None = None, **document: Any) -> dict[str, Any]:
    plan = plan_of({**DOCUMENT, **document}, number=4)
    steering = Steering(Topology(plan, europe_and_america()), status or status_of(9), NOW)
    found = explain(steering, steering.topology.services["s"], ip_address(client))
    assert json.loads(json.dumps(found)) == found, "it is JSON as it stands"
    return found


def test_every_region_is_named_with_its_numbers_and_its_fate() -> None:
    """Eligible ones in the order they are asked, the dropped ones after them."""
    found = said("10.0.0.1")
    assert (found["region"], found["outcome"], found["plan"], found["status"]) == (
        "fra",
        "steered",
        4,
        9,
    )
    by_region = {each["region"]: each for each in found["candidates"]}
    assert list(by_region) == ["fra", "iad", "old"]
    assert by_region["fra"]["fate"] == "chosen"
    assert by_region["old"]["fate"] == "its state is draining"
    assert by_region["fra"]["score_ms"] == pytest.approx(by_region["fra"]["rtt_ms"] - 3)
    assert 400 < by_region["fra"]["distance_km"] < 450
    assert found["answer"] == {
        "endpoints": ["fra-1"],
        "ipv4": ["192.0.2.1"],
        "ipv6": ["2001:db8::1"],
        "ttl": 30,
    }
    assert found["client"]["country"] == "DE"
    assert found["media"]["region"] == "eu"


def test_an_unlocated_client_has_no_distances() -> None:
    """Its RTTs are means, and say so."""
    found = said("99.0.0.1")
    assert not found["client"]["located"]
    assert {each["rtt_source"] for each in found["candidates"]} == {"unlocated"}
    assert {each["distance_km"] for each in found["candidates"]} == {None}


def test_an_override_and_a_draining_relay_are_told() -> None:
    """The rule that spoke, and what the status says of each endpoint."""
    draining = Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={"iad-1": RelayStatus(verdict="up", draining=True)},
    )
    found = said("30.0.0.1", draining)
    assert found["override"] == {"id": "o", "mode": "prefer"}
    iad = next(each for each in found["candidates"] if each["region"] == "iad")
    assert iad["endpoints"] == {"iad-1": "up, draining"}
    assert iad["fate"] == "none of its endpoints is up"


def test_no_region_left_says_what_is_answered_instead() -> None:
    """The fallback's addresses, and no media region."""
    service = {
        "id": "s",
        "name": "s.edge.example.",
        "when_all_down": "fallback",
        "fallback": ["192.0.2.200", "2001:db8::200"],
    }
    down = status_of(fra_1="down", iad_1="down")
    found = said(str(IPv4Address(10 << 24)), down, services=[service])
    assert (found["region"], found["outcome"], found["media"]) == (None, "fallback", None)
    assert found["answer"]["ipv4"] == ["192.0.2.200"]
    assert found["answer"]["ipv6"] == ["2001:db8::200"]
