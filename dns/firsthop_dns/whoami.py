"""What `whoami.<zone>` tells an asker: how the server sees them, and what it would answer and why.

Strings of key=value, one subject each. For operators with dig, so nothing secret may go in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from firsthop_dns.clients import Key, Peer, Transport, key_of_peer, key_of_subnet
from firsthop_dns.counters import TRANSPORTS
from firsthop_dns.edns import Subnet
from firsthop_dns.mapped import ZoneView
from firsthop_dns.tables import SteeredName, Tables
from firsthop_geodata.prefixes import NO_CELL, GeoTable
from firsthop_steering.table import ASK_RESOLVER

_MOST_SERVICES = 4
"""Decisions told: the reply is longer than the query, and must not be worth forging one for."""
_LONGEST_STRING = 255


def whoami_strings(
    tables: Tables,
    zone: ZoneView,
    peer: Peer,
    transport: Transport,
    subnet: Subnet | None,
    now: float,
) -> list[bytes]:
    """The character strings, 255 octets each at most; `now` in seconds since 1970."""
    resolver = key_of_peer(peer, transport)
    client = key_of_subnet(subnet) if subnet is not None and subnet.source else resolver
    lines = [f"resolver={peer[0].partition('%')[0]} transport={TRANSPORTS[transport][0]}"]
    lines.append(f"ecs={_subnet_text(subnet)}")
    if tables.geo is not None:
        lines += _place(tables.geo, client)
    here = [service for service in tables.services if service.zone is zone]
    lines += [
        _decision(service, client if service.table.ecs else resolver, resolver)
        for service in here[:_MOST_SERVICES]
    ]
    lines.append(f"plan={tables.plan} status={tables.status} table={tables.digest[:16]}")
    lines.append(f"time={datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    return [line.encode("ascii", "replace")[:_LONGEST_STRING] for line in lines]


def _subnet_text(subnet: Subnet | None) -> str:
    if subnet is None:
        return "none"
    padded = subnet.address.ljust(16 if subnet.family == 2 else 4, b"\0")
    return f"{ip_address(padded)}/{subnet.source}"


def _place(geo: GeoTable, client: Key) -> Iterator[str]:
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


def _decision(service: SteeredName, client: Key, resolver: Key) -> str:
    family, key, embedded = client
    answer, scope = service.table.lookup(family, key)
    if answer == ASK_RESOLVER:
        answer = service.table.settle(*resolver[:2])
    said = service.table.answers[answer]
    return (
        f"service={service.table.id} region={said.region or 'none'} outcome={said.outcome}"
        f" answer={answer} scope={scope + embedded} relays={','.join(said.relays) or 'none'}"
    )
