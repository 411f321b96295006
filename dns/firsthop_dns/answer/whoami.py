"""The answer to `whoami.<zone>`: how the server sees the requester, what it would answer and why.

Each string has key=value pairs on one subject. Anybody can query it, so it contains no secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NamedTuple

from firsthop_dns.answer.client_keys import ClientKey, PeerAddress, TransportKind, key_of_peer
from firsthop_dns.answer.counters import TRANSPORTS
from firsthop_dns.answer.generation import SteeredNameSlot, Tables
from firsthop_dns.table.mapped import ZoneView
from firsthop_dns.wire.edns import Subnet
from firsthop_dns.wire.query import AAAA, A
from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.compile.table import AnswerReason

_MAX_SERVICES = 4
"""Decisions listed at most: a longer reply would make the server a useful amplifier."""
_LONGEST_STRING = 255


class Asker(NamedTuple):
    """The requester: the resolver, and the client that it names, if it may."""

    peer: PeerAddress
    transport: TransportKind
    subnet: Subnet | None
    client: ClientKey | None


def whoami_strings(tables: Tables, zone: ZoneView, asker: Asker, now: float) -> list[bytes]:
    """The character strings, 255 octets each at most; `now` in seconds since 1970."""
    resolver = key_of_peer(asker.peer, asker.transport)
    host = asker.peer[0].partition("%")[0]
    lines = [f"resolver={host} transport={TRANSPORTS[asker.transport][0]}"]
    lines.append(f"ecs={_subnet_text(asker.subnet)}")
    if tables.geo is not None:
        lines += _location(tables.geo, asker.client or resolver)
    here = [service for service in tables.services if service.node.zone is zone]
    lines += [
        _decision(service, asker.client, resolver, now, qtype)
        for service in here[:_MAX_SERVICES]
        for qtype in ((A,) if service.table.aaaa is service.table else (A, AAAA))
    ]
    guidance = "".join(f" {kind}={number}" for kind, number in tables.guidance.items())
    lines.append(f"plan={tables.plan} status={tables.status}{guidance} table={tables.digest[:16]}")
    lines.append(f"time={datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    return [line.encode("ascii", "replace")[:_LONGEST_STRING] for line in lines]


def _subnet_text(subnet: Subnet | None) -> str:
    if subnet is None:
        return "none"
    padded = subnet.address.ljust(16 if subnet.family == 2 else 4, b"\0")
    return f"{ip_address(padded)}/{subnet.source}"


def _location(geo: GeoTable, client: ClientKey) -> Iterator[str]:
    family, key, _ = client
    cell = geo.find_cell(family, key)
    if cell == NO_CELL:
        yield "place=unknown"
    else:
        location = geo.cell(cell)
        yield (
            f"country={location.country or 'unknown'} continent={location.continent or 'unknown'}"
            f" coordinates={location.latitude:.2f},{location.longitude:.2f} cell={cell}"
        )
    yield f"asn={geo.find_asn(family, key) or 'unknown'}"


def _decision(
    service: SteeredNameSlot,
    client: ClientKey | None,
    resolver: ClientKey,
    now: float,
    qtype: int,
) -> str:
    answer, scope = service.choose(client, resolver, qtype)
    named = service.table.answers[answer]
    reasons = [_reason(service.table.answer_reasons[relay], now) for relay in named.relays]
    kind = " type=AAAA" if qtype == AAAA else ""
    return (
        f"service={service.table.id}{kind} region={named.region or 'none'} outcome={named.outcome}"
        f" answer={answer} scope={scope} relays={','.join(named.relays) or 'none'}"
        f" by={','.join(reasons) or 'none'}"
    )


def _reason(reason: AnswerReason, now: float) -> str:
    """The source of a relay's availability, and for how long it has applied: `local/12s`."""
    if reason.since is None:
        return reason.source
    return f"{reason.source}/{max(0, int(now - reason.since))}s"
