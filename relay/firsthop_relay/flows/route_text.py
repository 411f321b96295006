"""A route table as text: YAML or JSON, validated without pydantic.

A relay that restarts in the middle of a call reads it before its first packet, and importing
pydantic takes longer than importing everything that this module needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any, Final

from firsthop_ice.desired_state import State
from firsthop_relay.flows.routes import Route, RouteTable, Upstream

_WIRE_ID: Final = range(1, 65536)
_PORT: Final = range(1, 65536)
_WEIGHT: Final = range(101)


class RouteError(ValueError):
    """An invalid route table; the message names the field and the rule."""


def write_routes(table: RouteTable) -> str:
    """The text that `read_routes` reads."""
    return json.dumps({"routes": [asdict(each) for each in table.routes]})


def read_routes(text: str | bytes) -> RouteTable:
    """The table in a YAML or JSON text. Raises RouteError."""
    try:
        value = _parsed(text)
    except RecursionError:
        raise RouteError("is nested too deeply") from None
    members = _members({} if value is None else value, "", {"routes"})
    routes = [_route(*each) for each in _entries(members.get("routes", []), "routes")]
    if len({each.region for each in routes}) != len(routes):
        raise RouteError("a region appears twice")
    return RouteTable(routes)


def _parsed(text: str | bytes) -> Any:
    """Try JSON first: it is YAML too, and its parser takes a hundredth of the time."""
    try:
        return json.loads(text)
    except ValueError:
        from firsthop_steering.plan.yaml_text import read_yaml  # loads libyaml; few relays need it

        try:
            return read_yaml(text if isinstance(text, str) else text.decode()).value()
        except ValueError as error:
            raise RouteError(str(error)) from None


def _route(value: Any, path: str) -> Route:
    members = _members(value, path, {"region", "upstreams"}, required={"region", "upstreams"})
    region = _number(members["region"], f"{path}.region", _WIRE_ID)
    entries = _entries(members["upstreams"], f"{path}.upstreams")
    upstreams = tuple(_upstream(*each) for each in entries)
    if not upstreams:
        raise RouteError(f"{path}.upstreams: needs at least one")
    named = [each.wire_id for each in upstreams if each.wire_id is not None]
    if len(set(named)) != len(named):
        raise RouteError(f"{path}: region {region}: a transceiver's wire_id appears twice")
    return Route(region, upstreams)


def _upstream(value: Any, path: str) -> Upstream:
    known = {"host", "port", "wire_id", "weight", "state"}
    members = _members(value, path, known, required={"host", "port"})
    wire_id = members.get("wire_id")
    return Upstream(
        host=_host(members["host"], f"{path}.host"),
        port=_number(members["port"], f"{path}.port", _PORT),
        wire_id=None if wire_id is None else _number(wire_id, f"{path}.wire_id", _WIRE_ID),
        weight=_number(members.get("weight", 100), f"{path}.weight", _WEIGHT),
        state=_state(members.get("state", State.ACTIVE), f"{path}.state"),
    )


def _members(
    value: Any, path: str, known: set[str], required: frozenset[str] | set[str] = frozenset()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RouteError(f"{path or 'routes'}: must be a mapping of {', '.join(sorted(known))}")
    before = f"{path}." if path else ""
    for name in value:
        if name not in known:
            raise RouteError(f"{before}{name}: is not a field; {', '.join(sorted(known))} are")
    for name in sorted(required - value.keys()):
        raise RouteError(f"{before}{name}: is missing")
    return value


def _entries(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    if not isinstance(value, list):
        raise RouteError(f"{path}: must be a list")
    return ((each, f"{path}.{number}") for number, each in enumerate(value))


def _number(value: Any, path: str, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise RouteError(f"{path}: must be a whole number from {allowed[0]} to {allowed[-1]}")
    return value


def _host(value: Any, path: str) -> str:
    try:
        if isinstance(value, str):
            return str(ip_address(value))
    except ValueError:
        pass
    raise RouteError(f"{path}: must be an IPv4 or IPv6 address")


def _state(value: Any, path: str) -> State:
    try:
        return State(value)
    except ValueError:
        raise RouteError(f"{path}: must be {', '.join(State)}") from None
