"""The route table: what leads where, what is refused, and how stable the choice is."""

from __future__ import annotations

from collections import Counter

import pytest

from firsthop_relay.flows.route_text import RouteError, read_routes, write_routes
from firsthop_relay.flows.routes import RouteTable, routes_of
from firsthop_steering.plan.document import Document
from support.relay_world import CLUSTER, OTHER, REGION, RELAY, ROUTES, UNKNOWN_REGION, UPSTREAM

UFRAGS = [f"{number:031d}".encode() for number in range(4000)]


def table(*upstreams: str) -> RouteTable:
    entries = ", ".join(f"{{{each}}}" for each in upstreams)
    return read_routes(f"routes: [{{region: 7, upstreams: [{entries}]}}]")


def test_a_named_transceiver_is_found() -> None:
    assert ROUTES.resolve(REGION, 1, b"") == UPSTREAM
    assert ROUTES.resolve(REGION, 2, b"") == OTHER
    assert ROUTES.resolve(REGION, 3, b"") is None
    assert ROUTES.resolve(UNKNOWN_REGION, 1, b"") is None


def test_a_relay_takes_every_transceiver_of_its_region() -> None:
    """Also one that nobody here has heard of: the next relay knows."""
    for transceiver in (0, 1, 65535):
        assert ROUTES.resolve(CLUSTER, transceiver, b"") == RELAY


def test_any_of_a_region_is_spread_by_weight_and_stays() -> None:
    routes = table("host: 192.0.2.1, port: 1, weight: 100", "host: 192.0.2.2, port: 1, weight: 50")
    counts = Counter(routes.resolve(REGION, 0, each) for each in UFRAGS)
    share = counts["192.0.2.1", 1] / len(UFRAGS)
    assert 0.6 < share < 0.73
    again = [table(*reversed(["host: 192.0.2.1, port: 1", "host: 192.0.2.2, port: 1, weight: 50"]))]
    assert all(again[0].resolve(7, 0, u) == routes.resolve(7, 0, u) for u in UFRAGS)


def test_one_more_transceiver_moves_only_its_share() -> None:
    two = table("host: 192.0.2.1, port: 1", "host: 192.0.2.2, port: 1")
    three = table(
        "host: 192.0.2.1, port: 1", "host: 192.0.2.2, port: 1", "host: 192.0.2.3, port: 1"
    )
    moved = [u for u in UFRAGS if two.resolve(7, 0, u) != three.resolve(7, 0, u)]
    assert {three.resolve(7, 0, u) for u in moved} == {("192.0.2.3", 1)}
    assert 0.25 < len(moved) / len(UFRAGS) < 0.42


@pytest.mark.parametrize(
    ("fields", "by_name", "as_any"),
    [
        ("state: active", True, True),
        ("state: draining", True, False),
        ("state: disabled", False, False),
        ("weight: 0", True, False),
    ],
)
def test_states(fields: str, by_name: bool, as_any: bool) -> None:
    routes = table(f"host: 192.0.2.1, port: 1, wire_id: 1, {fields}")
    there = ("192.0.2.1", 1)
    assert routes.resolve(REGION, 1, b"") == (there if by_name else None)
    assert routes.resolve(REGION, 0, b"") == (there if as_any else None)
    assert (there in routes) == by_name


def test_a_table_survives_its_own_text() -> None:
    again = read_routes(write_routes(ROUTES))
    assert again.routes == ROUTES.routes
    assert again.resolve(REGION, 2, b"") == OTHER
    assert len(read_routes("")) == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("routes: [", "is not YAML"),
        ("[" * 10_000, "nested too deeply"),
        ("[]", "must be a mapping"),
        ("routes: 1", "routes: must be a list"),
        ("routes: [1]", "routes.0: must be a mapping"),
        ("routes: [{region: 1}]", "routes.0.upstreams: is missing"),
        ("route: []", "route: is not a field"),
        ("routes: [{region: 0, upstreams: [{host: 192.0.2.1, port: 1}]}]", "routes.0.region"),
        ("routes: [{region: 1, upstreams: []}]", "routes.0.upstreams"),
        ("routes: [{region: 1, upstreams: [{host: a.example, port: 1}]}]", "upstreams.0.host"),
        ("routes: [{region: 1, upstreams: [{host: 1, port: 1}]}]", "upstreams.0.host"),
        ("routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: x}]}]", "upstreams.0.port"),
        (
            "routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: 1, weight: 101}]}]",
            "upstreams.0.weight: must be a whole number from 0 to 100",
        ),
        (
            "routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: 1, wire_id: true}]}]",
            "upstreams.0.wire_id",
        ),
        (
            "routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: 1, state: up}]}]",
            "upstreams.0.state: must be active, draining, disabled",
        ),
        (
            "routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: 1, wire_id: 1},"
            " {host: 192.0.2.1, port: 2, wire_id: 1}]}]",
            "appears twice",
        ),
        (
            "routes: [{region: 1, upstreams: [{host: 192.0.2.1, port: 1}]},"
            " {region: 1, upstreams: [{host: 192.0.2.1, port: 1}]}]",
            "a region appears twice",
        ),
    ],
)
def test_what_is_no_table_is_refused_by_name(text: str, fault: str) -> None:
    with pytest.raises(RouteError, match=fault):
        read_routes(text)


def test_the_table_of_a_plan() -> None:
    """Each region to its transceivers; what is disabled or has no wire id leads nowhere."""
    place = {"latitude": 0, "longitude": 0}
    document = Document.model_validate(
        {
            "transceiver_regions": [
                {"id": "eu", "wire_id": 7, **place},
                {"id": "us", "wire_id": 8, "state": "draining", **place},
                {"id": "off", "wire_id": 9, "state": "disabled", **place},
                {"id": "new", **place},
                {"id": "empty", "wire_id": 10, **place},
            ],
            "transceivers": [
                {"id": "eu-1", "wire_id": 1, "region": "eu", "host": "192.0.2.1", "port": 1},
                {"id": "us-1", "wire_id": 1, "region": "us", "host": "192.0.2.2", "port": 1},
                {"id": "off-1", "wire_id": 1, "region": "off", "host": "192.0.2.3", "port": 1},
                {"id": "new-1", "region": "new", "host": "192.0.2.4", "port": 1},
                {"id": "eu-2", "region": "eu", "host": "192.0.2.5", "port": 1},
            ],
        }
    )
    routes = routes_of(document)
    assert len(routes) == 2
    assert routes.resolve(7, 1, b"") == routes.resolve(7, 0, b"") == ("192.0.2.1", 1)
    assert routes.resolve(8, 1, b"") == ("192.0.2.2", 1)


def test_who_is_unwilling_gets_no_new_sessions_but_those_that_name_it() -> None:
    """By its own word as by an operator's; not where nobody else is left."""
    place = {"latitude": 0, "longitude": 0}
    hosts = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    document = Document.model_validate(
        {
            "transceiver_regions": [{"id": "eu", "wire_id": 7, **place}],
            "transceivers": [
                {"id": f"eu-{n}", "wire_id": n, "region": "eu", "host": host, "port": 1}
                for n, host in enumerate(hosts, start=1)
            ],
        }
    )
    ufrags = [bytes([n]) * 31 for n in range(64)]

    def chosen(*unavailable_transceivers: str) -> list[object]:
        routes = routes_of(document, unavailable_transceivers)
        assert routes.resolve(7, 1, b"") == ("192.0.2.1", 1)
        return [routes.resolve(7, 0, each) for each in ufrags]

    before, after = chosen(), chosen("eu-1")
    assert set(before) == {(host, 1) for host in hosts}
    assert ("192.0.2.1", 1) not in after
    stayed = [pair for pair in zip(before, after, strict=True) if pair[0] != ("192.0.2.1", 1)]
    assert all(old == new for old, new in stayed), "nobody else is moved"
    assert chosen("eu-1", "eu-2", "eu-3") == before


@pytest.mark.parametrize(
    "text", ["a: &a [x, x]\nroutes: [*a, *a]", "[" * 100_000, b"\xff", "routes: !!set {a}"]
)
def test_hostile_yaml_is_refused(text: str | bytes) -> None:
    """Aliases can stand for gigabytes; every text is a table or a RouteError."""
    with pytest.raises(RouteError):
        read_routes(text)
