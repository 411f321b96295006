"""A server to ask: our own over the sample document, or FIRSTHOP_WIRE_TARGET=host:port.

The tests speak only wire, so any server with the sample zone can be put to them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import pytest

from firsthop_dns.counters import Counters
from firsthop_dns.layout import SECTION
from firsthop_dns.listening import bind
from firsthop_dns.server import DnsServer
from firsthop_dns.tables import Tables
from firsthop_dns.zone import encode_zones
from firsthop_geodata.prefixes import NO_CELL, Cell, GeoTable, write_table
from firsthop_steering.atlas import Atlas, key_range
from firsthop_steering.compile import compile_table
from firsthop_steering.decide import Steering
from firsthop_steering.document import load_yaml
from firsthop_steering.snapshot import Plan, RelayStatus, Status
from firsthop_steering.table import AnswerTable

DEADLINE_S = 20.0
"""For a busy machine; nothing waits that long when all is well."""
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


def _sample(folder: Path, *, number: int = 7) -> tuple[AnswerTable, GeoTable]:
    document = load_yaml((Path(__file__).parent / "sample.yaml").read_text())
    regions = [region.id for region in document.regions]
    write_table(
        folder / "geo",
        cells=[Cell(r.latitude, r.longitude, "XX", "EU", r.id) for r in document.regions],
        v4=_ranges(4, regions),
        v6=_ranges(6, regions),
    )
    geo = GeoTable.open(folder / "geo")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    plan = Plan(number=number, lineage="sample", created_at=now, document=document)
    down = {"syd-1": RelayStatus(verdict="down")}
    status = Status(number=3, lineage="sample", created_at=now, relays=down)
    compile_table(
        Steering(Atlas(plan, geo), status, now),
        folder / "table",
        lambda services: {SECTION: encode_zones(document, plan.number, services)},
    )
    return AnswerTable.open(folder / "table"), geo


@dataclass
class Target:
    """Where a server listens, and how to ask it."""

    host: str
    port: int
    server: DnsServer | None = None
    """Ours, to look into; None for a foreign one."""

    def exchange(self, packet: bytes, *, tcp: bool = False) -> dns.message.Message:
        """The answer to these octets, read by dnspython."""
        return dns.message.from_wire(self.octets(packet, tcp=tcp))

    def octets(self, packet: bytes, *, tcp: bool = False) -> bytes:
        """The answer as it came."""
        if tcp:
            with self.connect() as stream:
                stream.sendall(len(packet).to_bytes(2, "big") + packet)
                return receive(stream)
        with self.datagrams() as sock:
            sock.send(packet)
            return sock.recv(65535)

    def ask(
        self,
        name: str,
        kind: str = "A",
        *,
        subnet: str | None = None,
        tcp: bool = False,
        edns: bool = True,
        payload: int = 1232,
    ) -> dns.message.Message:
        """The answer to a plain question; it belongs to the question."""
        options = []
        if subnet is not None:
            address, _, length = subnet.partition("/")
            options.append(dns.edns.ECSOption(address, int(length), 0))
        asked = dns.message.make_query(
            name, kind, use_edns=0 if edns else False, payload=payload, options=options
        )
        asked.flags = 0
        answer = self.exchange(asked.to_wire(), tcp=tcp)
        assert asked.is_response(answer)
        return answer

    @property
    def family(self) -> socket.AddressFamily:
        """Of its address."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def connect(self) -> socket.socket:
        """A TCP connection."""
        return socket.create_connection((self.host, self.port), timeout=DEADLINE_S)

    def datagrams(self) -> socket.socket:
        """A connected UDP socket: only what comes from the address that was asked is heard."""
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        sock.settimeout(DEADLINE_S)
        sock.connect((self.host, self.port))
        return sock


def receive(stream: socket.socket) -> bytes:
    """One framed message; empty when the other side has closed."""
    head = _exactly(stream, 2)
    return _exactly(stream, int.from_bytes(head, "big")) if head else b""


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


@contextmanager
def running(listen: list[tuple[str, int]], tables: Tables, **options: float) -> Iterator[DnsServer]:
    """A server in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = DnsServer(bind(listen), tables, **options)
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


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnswerTable, GeoTable]:
    """The sample, compiled."""
    return _sample(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of the next plan."""
    table, geo = _sample(tmp_path_factory.mktemp("newer"), number=8)
    return Tables(table, Counters(), geo=geo)


MakeServer = Callable[..., Target]


@pytest.fixture
def serve(table: tuple[AnswerTable, GeoTable]) -> Iterator[MakeServer]:
    """Starts servers of ours with options of a test's own; a foreign target has none."""
    if "FIRSTHOP_WIRE_TARGET" in os.environ:
        pytest.skip("looks into our own server")
    stack = ExitStack()

    def start(host: str = "127.0.0.1", **options: float) -> Target:
        tables = Tables(table[0], Counters(), geo=table[1])
        server = stack.enter_context(running([(host, 0)], tables, **options))
        return Target(host, server.addresses[0][1], server)

    with stack:
        yield start


@pytest.fixture(scope="session", params=["127.0.0.1", "::1"], ids=["IPv4", "IPv6"])
def target(request: pytest.FixtureRequest, table: tuple[AnswerTable, GeoTable]) -> Iterator[Target]:
    """The server under test, over both families where it is ours."""
    wanted = os.environ.get("FIRSTHOP_WIRE_TARGET")
    if wanted:
        host, _, port = wanted.rpartition(":")
        if request.param != "127.0.0.1":
            pytest.skip("FIRSTHOP_WIRE_TARGET is one address")
        yield Target(host.strip("[]"), int(port))
        return
    with running([(request.param, 0)], Tables(table[0], Counters(), geo=table[1])) as server:
        yield Target(request.param, server.addresses[0][1], server)


@pytest.fixture(params=[False, True], ids=["UDP", "TCP"])
def tcp(request: pytest.FixtureRequest) -> bool:
    """Every answer must be the same over both."""
    return bool(request.param)
