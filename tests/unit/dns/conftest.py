"""The sample document of the wire tests, compiled, and a way to ask it without sockets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import dns.edns
import dns.message
import pytest

from firsthop_dns.clients import UDP4, Peer
from firsthop_dns.counters import Counters
from firsthop_dns.instance import Instance
from firsthop_dns.layout import SECTION
from firsthop_dns.respond import respond
from firsthop_dns.tables import Tables
from firsthop_dns.zone import encode_zones
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.atlas import Atlas, key_range
from firsthop_steering.compile import compile_table
from firsthop_steering.decide import Steering
from firsthop_steering.document import load_yaml
from firsthop_steering.snapshot import Plan, RelayStatus, Status
from firsthop_steering.table import AnswerTable

SAMPLE = Path(__file__).parents[2] / "wire" / "sample.yaml"

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


def _sample(folder: Path) -> tuple[AnswerTable, GeoTable]:
    document = load_yaml(SAMPLE.read_text())
    regions = [region.id for region in document.regions]
    write_table(
        folder / "geo",
        cells=[Cell(r.latitude, r.longitude, "XX", "EU", r.id) for r in document.regions],
        v4=_ranges(4, regions),
        v6=_ranges(6, regions),
    )
    geo = GeoTable.open(folder / "geo")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    plan = Plan(number=7, lineage="sample", created_at=now, document=document)
    down = {"syd-1": RelayStatus(verdict="down")}
    status = Status(number=3, lineage="sample", created_at=now, relays=down)
    compile_table(
        Steering(Atlas(plan, geo), status, now),
        folder / "table",
        lambda services: {SECTION: encode_zones(document, plan.number, services)},
    )
    return AnswerTable.open(folder / "table"), geo


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnswerTable, GeoTable]:
    """The compiled table and its map."""
    return _sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def tables(sample: tuple[AnswerTable, GeoTable]) -> Iterator[Tables]:
    """What `respond` reads, with fresh counters; at the end they must add up."""
    made = Tables(sample[0], Instance.of(Counters(), {}), geo=sample[1])
    yield made
    assert_counters_add_up(made.counters)


def assert_counters_add_up(counters: Counters) -> None:
    """requests = responses + drops."""
    came = counters.total("firsthop_dns_requests_total")
    said = counters.total("firsthop_dns_responses_total")
    assert came == said + counters.total("firsthop_dns_dropped_total")


class Asker:
    """A client without sockets: makes queries, reads answers with dnspython."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.peer: Peer = ("127.0.0.1", 5353)
        self.transport = UDP4

    def packet(self, packet: bytes) -> bytes | None:
        """The reply to these octets."""
        return respond(packet, self.peer, self.tables, 0.0, self.transport)

    def __call__(
        self,
        name: str,
        kind: str = "A",
        *,
        subnet: str | None = None,
        edns: bool = False,
        payload: int = 1232,
        dnssec_ok: bool = False,
    ) -> dns.message.Message:
        """The answer to one question; `subnet` as `198.51.100.0/24`."""
        options = []
        if subnet is not None:
            address, _, length = subnet.partition("/")
            options.append(dns.edns.ECSOption(address, int(length), 0))
        asked = dns.message.make_query(
            name,
            kind,
            use_edns=0 if edns or options or dnssec_ok else False,
            payload=payload,
            want_dnssec=dnssec_ok,
            options=options,
        )
        reply = self.packet(asked.to_wire())
        assert reply is not None
        answer = dns.message.from_wire(reply)
        assert asked.is_response(answer)
        return answer


@pytest.fixture
def ask(tables: Tables) -> Asker:
    """Asks the sample over UDP from 127.0.0.1."""
    return Asker(tables)
