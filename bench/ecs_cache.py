"""ECS cache entries: the number of scopes that cover the IPv4 space, compared with gdnsd.

    python bench/ecs_cache.py [--regions 8,24,50]

A resolver keeps one entry per scope (RFC 7871 §7.3.1) and queries each again every TTL, so fewer
are better. See docs/performance.md.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.load import wire_name
from bench.peers import firsthop, gdnsd
from bench.peers.case import BUNDLED, REGIONS, SERVICE, Region, unpack
from bench.peers.process import AbsentError, Server, StartError

from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import ASK_RESOLVER, AnswerTable, ServiceTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import load_yaml

START_TIMEOUT_S = 60.0
_SILENCE_S = 1.0

# The eight of bench/dns.py come first; every prefix of the list is spread over the world.
CITIES = tuple(
    Region(name, latitude, longitude, IPv4Address("192.0.2.0") + number)
    for number, (name, latitude, longitude) in enumerate(
        (
            *((each.id, each.latitude, each.longitude) for each in REGIONS),
            ("lhr", 51.51, -0.13),
            ("nrt", 35.68, 139.69),
            ("dfw", 32.78, -96.80),
            ("ord", 41.88, -87.63),
            ("scl", -33.45, -70.67),
            ("mad", 40.42, -3.70),
            ("waw", 52.23, 21.01),
            ("arn", 59.33, 18.07),
            ("dxb", 25.20, 55.27),
            ("hkg", 22.32, 114.17),
            ("icn", 37.57, 126.98),
            ("mex", 19.43, -99.13),
            ("lax", 34.05, -118.24),
            ("yyz", 43.65, -79.38),
            ("los", 6.52, 3.38),
            ("akl", -36.85, 174.76),
            ("cdg", 48.86, 2.35),
            ("ams", 52.37, 4.90),
            ("mxp", 45.46, 9.19),
            ("vie", 48.21, 16.37),
            ("hel", 60.17, 24.94),
            ("ist", 41.01, 28.98),
            ("tlv", 32.07, 34.78),
            ("cai", 30.04, 31.24),
            ("nbo", -1.29, 36.82),
            ("cpt", -33.92, 18.42),
            ("del", 28.61, 77.21),
            ("maa", 13.08, 80.27),
            ("bkk", 13.76, 100.50),
            ("cgk", -6.21, 106.85),
            ("mnl", 14.60, 120.98),
            ("tpe", 25.03, 121.57),
            ("per", -31.95, 115.86),
            ("bne", -27.47, 153.03),
            ("sea", 47.61, -122.33),
            ("mia", 25.76, -80.19),
            ("yul", 45.50, -73.57),
            ("bog", 4.71, -74.07),
            ("lim", -12.05, -77.04),
            ("eze", -34.60, -58.38),
            ("otp", 44.43, 26.10),
            ("kix", 34.69, 135.50),
        ),
        start=1,
    )
)


@dataclass(frozen=True, slots=True)
class Entries:
    """All scopes in order: first address, prefix length, and the address answered."""

    blocks: tuple[tuple[int, int, bytes], ...]
    seconds: float

    @property
    def mean_length(self) -> float:
        """Of the prefixes, each counted once."""
        return sum(length for _, length, _ in self.blocks) / len(self.blocks)

    def differing(self, other: Entries) -> float:
        """Share of the address space with a different answer in `other`."""
        theirs = iter((*other.blocks, (1 << 32, 0, b"")))
        different = 0
        (_, _, address), (until, _, following) = next(theirs), next(theirs)
        for (first, _, answer), (end, _, _) in pairwise((*self.blocks, (1 << 32, 0, b""))):
            while first < end:
                upto = min(end, until)
                different += (upto - first) * (answer != address)
                if upto == until < 1 << 32:
                    address, (until, _, following) = following, next(theirs)
                first = upto
        return different / 2**32


Ask = Callable[[int], tuple[bytes, int]]
"""The address in a client's answer, and the scope."""


def enumerate_scopes(ask: Ask) -> Entries:
    """Enumerates the scopes: queries the first address after each scope, from 0.0.0.0 to the end.

    Raises ValueError if a scope overlaps the previous one.
    """
    started = time.monotonic()
    blocks = []
    address = 0
    while address < 1 << 32:
        answer, scope = ask(address)
        size = 1 << 32 - scope
        if address % size:
            raise ValueError(f"{IPv4Address(address)}/{scope} overlaps the scope before it")
        blocks.append((address, scope, answer))
        address += size
    return Entries(tuple(blocks), time.monotonic() - started)


def by_wire(sock: socket.socket) -> Ask:
    """Queries a server with the whole address as the client subnet."""
    question = wire_name(SERVICE) + b"\0\1\0\1"
    head = struct.pack(">5H", 0, 1, 0, 0, 1) + question
    tail = struct.pack(">BHHIH4H", 0, 41, 1232, 0, 12, 8, 8, 1, 32 << 8)
    record = 12 + len(question)

    def ask(address: int) -> tuple[bytes, int]:
        subnet = address.to_bytes(4, "big")
        identity = subnet[1:3]
        sock.send(identity + head + tail + subnet)
        answer = sock.recv(4096)
        if answer[:2] != identity or answer[3] & 0xF or answer[6:8] != b"\0\1":
            raise ValueError(f"no single address for {IPv4Address(address)}: {answer.hex()}")
        if answer[-6] != 32 or answer[-4:] != subnet:
            raise ValueError(f"no client subnet goes back for {IPv4Address(address)}")
        return answer[record + 12 : record + 16], answer[-5]

    return ask


def compiled(database: Path, regions: Sequence[Region], folder: Path) -> ServiceTable:
    """The table that an edge compiles from the same document and database."""
    now = datetime.now(UTC)
    plan = Plan(
        number=1, lineage="bench", created_at=now, document=load_yaml(firsthop.document(regions))
    )
    geo = open_geodata(database, None, folder / "geo")
    status = Status(number=0, lineage="bench", created_at=now)
    compile_table(Steering(Topology(plan, geo), status, now), folder / "table")
    return AnswerTable.open(folder / "table").services[0]


def by_table(table: ServiceTable) -> Ask:
    """Looks up in the table, for a resolver at 127.0.0.1."""
    resolver = table.settle(4, 0x7F000001)

    def ask(address: int) -> tuple[bytes, int]:
        answer, scope = table.lookup(4, address)
        compiled = table.answers[resolver if answer == ASK_RESOLVER else answer]
        return compiled.ipv4[0].packed, scope

    return ask


def scopes_of_server(server: Server) -> Entries:
    """Waits until the server answers, and enumerates its scopes."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_SILENCE_S)
        sock.connect(("127.0.0.1", server.port))
        ask = by_wire(sock)
        while True:
            server.cpu()  # raises when it has ended
            try:
                ask(1 << 24)
                break
            except (OSError, ValueError):
                if time.monotonic() > deadline:
                    raise StartError(f"{server.name} is silent:\n{server.tail()}") from None
                time.sleep(0.05)
        return enumerate_scopes(ask)


def compare(database: Path, count: int) -> None:
    """Measures one number of regions: our table, an edge, and gdnsd with and without failover."""
    regions = CITIES[:count]
    with ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-ecs-")))
            for _ in range(4)
        ]
        table = compiled(database, regions, folders[0])
        ours = enumerate_scopes(by_table(table))
        show(count, "Firsthop, by its table", ours)
        server = firsthop.start_edge(database, regions, folders[1])
        stack.callback(server.stop)
        wired = scopes_of_server(server)
        if wired.blocks != ours.blocks:
            raise ValueError("the edge gives other scopes than its table")
        show(count, "Firsthop, over the wire", wired)
        # gdnsd answers unlocated addresses with its first datacentre: make that our region, too.
        spare = table.answers[table.settle(4, 0x7F000001)].region
        ordered = sorted(regions, key=lambda region: region.id != spare)
        for limit, folder in zip((3, 1), folders[2:], strict=True):
            try:
                peer = gdnsd.start_map(database, ordered, gdnsd.nearest_map(ordered, limit), folder)
            except AbsentError as reason:
                print(f"skipped gdnsd: {reason}")
                return
            stack.callback(peer.stop)
            theirs = scopes_of_server(peer)
            show(count, f"gdnsd {peer.version}, lists of {limit}", theirs, other=ours)


def show(count: int, name: str, entries: Entries, *, other: Entries | None = None) -> None:
    """Prints one row."""
    row = f"{count:>7}  {name:<26} {len(entries.blocks):>8,}  /{entries.mean_length:5.2f}"
    if other is not None:
        ratio = len(other.blocks) / len(entries.blocks)
        row += f"  Firsthop has {ratio:.3f} of them; other answers: {other.differing(entries):.3%}"
    print(f"{row}  ({entries.seconds:.1f} s)", flush=True)


def main() -> int:
    """Prints one row per server and number of regions."""
    parser = argparse.ArgumentParser(description="ECS cache entries of the whole IPv4 space.")
    parser.add_argument("--regions", default="8,24,50", help=f"sizes, up to {len(CITIES)}")
    parser.add_argument("--database", type=Path, default=BUNDLED, help=".mmdb or .mmdb.xz")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-ecs-") as folder:
        database = unpack(chosen.database, Path(folder))
        print("regions  server                      entries    mean")
        for count in map(int, chosen.regions.split(",")):
            compare(database, count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
