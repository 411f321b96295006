"""The sample as our own server has it: the document and the zone file, compiled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import dns.name
import dns.zone

from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.serve.listening import bind
from firsthop_dns.serve.server import DnsServer
from firsthop_dns.table.layout import SECTION
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology, key_range
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status
from firsthop_steering.plan.document import Document, load_yaml
from wire.servers.same import COOKIE_SECRET, NSID
from wire.target import DEADLINE_S

FOLDER = Path(__file__).parent
ZONE_FILE = FOLDER / "zones" / "example.test.zone"
APEX = dns.name.from_text("example.test.")
PLACES = (  # network, region that stands there
    ("127.0.0.0/8", "fra"),
    ("192.0.2.0/24", "fra"),
    ("198.51.100.0/25", "nyc"),
    ("198.51.100.128/25", "tyo"),
    ("203.0.113.0/24", "tyo"),
    ("::/64", "fra"),
    ("2001:db8:1::/48", "nyc"),
    ("2001:db8:2::/48", "tyo"),
)
"""The map of the sample; all other addresses are nowhere."""
Compiled = tuple[AnswerTable, GeoTable]


def zone() -> dns.zone.Zone:
    """The zone file as dnspython reads it, names absolute."""
    return dns.zone.from_file(str(ZONE_FILE), APEX, relativize=False)


def document(name: str) -> Document:
    """A document of this folder; `suite.yaml` says `file: zones/example.test.zone`."""
    text = (FOLDER / name).read_text()
    return load_yaml(text, read_file=lambda path: (FOLDER / path).read_text())


def _ranges(version: int, regions: list[str]) -> tuple[list[int], list[int]]:
    starts, cells = [0], [NO_CELL]
    for text, region in PLACES:
        network = ip_network(text)
        if network.version == version:
            first, last = key_range(network)
            if starts[-1] == first:
                del starts[-1], cells[-1]
            starts += [first, last + 1]
            cells += [regions.index(region), NO_CELL]
    return starts, cells


def compiled(folder: Path, *, name: str = "suite.yaml", number: int = 7) -> Compiled:
    """Plan `number` of a document with region syd down."""
    sample = document(name)
    regions = [region.id for region in sample.regions]
    write_table(
        folder / "geo",
        cells=[Cell(r.latitude, r.longitude, "XX", "EU", r.id) for r in sample.regions],
        v4=_ranges(4, regions),
        v6=_ranges(6, regions),
    )
    geo = GeoTable.open(folder / "geo")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    plan = Plan(number=number, lineage="sample", created_at=now, document=sample)
    down = {"syd-1": RelayStatus(verdict="down")}
    status = Status(number=3, lineage="sample", created_at=now, relays=down)
    compile_table(
        Steering(Topology(plan, geo), status, now),
        folder / "table",
        lambda services: {SECTION: encode_zones(sample, plan.number, services)},
    )
    return AnswerTable.open(folder / "table"), geo


def tables(made: Compiled, **options: Any) -> Tables:
    """What one server answers from, with fresh counters.

    The one place that says how an instance of ours is configured: the secret of its cookies and
    its NSID are those of `wire.servers`.
    """
    configured = {"nsid": NSID, "cookie_secrets": [COOKIE_SECRET], **options}
    return Tables(made[0], Instance.of(DnsCounters(), configured), geo=made[1])


@contextmanager
def running(listen: list[tuple[str, int]], tables: Tables) -> Iterator[DnsServer]:
    """A server in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = DnsServer(bind(listen), tables)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(DEADLINE_S)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(DEADLINE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()
