"""The answer to `whoami.<zone>`: how the server sees the requester, what it would answer and why.

Strings of key=value, one subject each. Anybody can query it, so it holds no secrets.
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
from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.compile.table import AnswerReason

_MOST_SERVICES = 4
"""Decisions told: the reply is longer than the query, and must not be worth forging one for."""
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
        lines += _place(tables.geo, asker.client or resolver)
    here = [service for service in tables.services if service.node.zone is zone]
    lines += [_decision(service, asker.client, resolver, now) for service in here[:_MOST_SERVICES]]
    guidance = "".join(f" {kind}={number}" for kind, number in tables.guidance.items())
    lines.append(f"plan={tables.plan} status={tables.status}{guidance} table={tables.digest[:16]}")
    lines.append(f"time={datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    return [line.encode("ascii", "replace")[:_LONGEST_STRING] for line in lines]


def _subnet_text(subnet: Subnet | None) -> str:
    if subnet is None:
        return "none"
    padded = subnet.address.ljust(16 if subnet.family == 2 else 4, b"\0")
    return f"{ip_address(padded)}/{subnet.source}"


def _place(geo: GeoTable, client: ClientKey) -> Iterator[str]:
    family, key, _ = client
    cell = geo.find_cell(family, key)
    if cell == NO_CELL:
        yield "place=unknown"
    else:
        place = geo.cell(cell)
        yield (
            f"country={place.country or 'unknown'} continent={place.continent or 'unknown'}"
            f" coordinates={place.latitude:.2f},{place.longitude:.2f} cell={cell}"
        )
    yield f"asn={geo.find_asn(family, key) or 'unknown'}"


def _decision(
    service: SteeredNameSlot, client: ClientKey | None, resolver: ClientKey, now: float
) -> str:
    answer, scope = service.choose(client, resolver)
    said = service.table.answers[answer]
    words = [_word(service.table.standings[relay], now) for relay in said.relays]
    return (
        f"service={service.table.id} region={said.region or 'none'} outcome={said.outcome}"
        f" answer={answer} scope={scope} relays={','.join(said.relays) or 'none'}"
        f" by={','.join(words) or 'none'}"
    )


def _word(word: AnswerReason, now: float) -> str:
    """Whose word a relay is answered by, and for how long it stands: `local/12s`."""
    if word.since is None:
        return word.source
    return f"{word.source}/{max(0, int(now - word.since))}s"
