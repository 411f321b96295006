"""Small zones with every pair of features, and whether we answer what Knot and NSD agree on.

    python tests/wire/pairs.py [--zones 1000] [--seed 1]

A zone is a SOA, a name server and two features: delegation, wildcard, CNAME, DNAME, glue, data that
a delegation or a DNAME hides. Each is queried for every name of interest and type. An answer counts
if both servers give the same one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    TESTS = Path(__file__).resolve().parents[1]
    sys.path[0] = str(TESTS)
    sys.path.insert(1, str(TESTS.parent))

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
from bench.peers.process import Server

from firsthop_dns.answer.client_keys import TCP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.table.layout import SECTION
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import Document
from firsthop_zones.faults import DocumentError
from firsthop_zones.model import Zone
from firsthop_zones.zonefile import read_zone
from support.waiting import until
from support.worlds import NOW, europe_and_america
from wire.servers import knot, nsd

FEATURES = {
    "delegation": [
        *(
            f"{owner} NS {server}"
            for owner in ("a", "b.a")
            for server in ("ns", "ns.else.invalid.")
        ),
        *(f"{owner} NS ns.{owner}\nns.{owner} A 192.0.2.3" for owner in ("a", "b.a", "c")),
        *(f"{owner} NS *.{owner}\n*.{owner} A 192.0.2.3" for owner in ("a", "b.a")),
        "a NS ns.c\nns.c AAAA 2001:db8::3",
    ],
    "wildcard": [
        f"{owner} {data}"
        for owner in ("*", "*.a", "*.b.a")
        for data in ("A 192.0.2.4", "TXT x", "CNAME a", "CNAME x.d", "CNAME x.b.a", "MX 1 a")
    ],
    "CNAME": [
        f"{owner} CNAME {target}"
        for owner in ("a", "c", "x.a")
        for target in ("b.a", "x.a", "c", "d", "x.d", "y.x.a", "else.invalid.")
    ],
    "DNAME": [
        f"{owner} DNAME {target}"
        for owner in ("a", "d")
        for target in ("c", "b.a", "b.d", "@", "ns", "else.invalid.")
    ],
    "glue": ["ns.a A 192.0.2.5", "ns.a AAAA 2001:db8::5", "ns.c A 192.0.2.5\nc NS ns.c"],
    "occlusion": ["x.a TXT hidden", "b.a A 192.0.2.6", "a TXT beside", "y.x.d A 192.0.2.6"],
}
NAMES = [
    "@",
    "a",
    "b.a",
    "x.a",
    "y.x.a",
    "ns.a",
    "*.a",
    "*",
    "c",
    "x.c",
    "ns.c",
    "d",
    "x.d",
    "y.x.d",
    "b.d",
    "ns",
    "x",
]
TYPES = ("A", "NS", "CNAME", "TXT", "MX", "DNAME", "DS")
_HEAD = "$TTL 300\n@ SOA ns host 1 7200 900 1209600 60\n@ NS ns\nns A 192.0.2.1\n"


class Said(NamedTuple):
    """What an answer says, without order and without the SOA's serial."""

    rcode: int
    authoritative: bool
    answer: frozenset[str]
    authority: frozenset[str]
    additional: frozenset[str]


Answers = dict[tuple[str, str, str], Said]
"""By apex, name and type."""


def zone_texts() -> Iterator[str]:
    """Zone files with every pair of features, relative to any origin."""
    each = [data for variants in FEATURES.values() for data in variants]
    for first, second in itertools.combinations(each, 2):
        lines = dict.fromkeys([*first.splitlines(), *second.splitlines()])
        yield _HEAD + "\n".join(lines) + "\n"


def write_zones(folder: Path, count: int, seed: int) -> dict[str, Path]:
    """So many of these zones, drawn at random, in files by apex."""
    texts = list(zone_texts())
    drawn = random.Random(seed).sample(texts, min(count, len(texts)))
    found = {}
    for number, text in enumerate(drawn):
        apex = f"z{number}.test."
        found[apex] = folder / f"z{number}.zone"
        found[apex].write_text(f"$ORIGIN {apex}\n{text}")
    return found


def said(octets: bytes) -> Said:
    """The content of a message."""
    message = dns.message.from_wire(octets)
    return Said(
        message.rcode(),
        bool(message.flags & dns.flags.AA),
        *(
            frozenset(_text(rrset, rdata) for rrset in section for rdata in rrset)
            for section in (message.answer, message.authority, message.additional)
        ),
    )


def _text(rrset: dns.rrset.RRset, rdata: object) -> str:
    kind = dns.rdatatype.to_text(rrset.rdtype)
    return f"{rrset.name} {rrset.ttl} {kind} {'' if kind == 'SOA' else rdata}".lower()


def questions(apexes: Sequence[str]) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    """Every query, with its key."""
    for apex in apexes:
        for name, kind in itertools.product(NAMES, TYPES):
            owner = apex if name == "@" else f"{name}.{apex}"
            query = dns.message.make_query(owner, kind, use_edns=0, payload=1232)
            query.flags = 0
            yield (apex, name, kind), query.to_wire()


def answers_of(port: int, apexes: Sequence[str]) -> Answers:
    """What the server at a port of 127.0.0.1 says to each."""
    found: Answers = {}
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(10.0)
        sock.connect(("127.0.0.1", port))
        for key, packet in questions(apexes):
            sock.send(packet)
            found[key] = said(sock.recv(4096))
    return found


def loaded(zones: Mapping[str, Path]) -> dict[str, Zone]:
    """The zones that we accept, by apex."""
    found = {}
    for apex, path in zones.items():
        try:
            found[apex] = read_zone(path.read_text(), source=path.name, apex=apex)
        except DocumentError:
            continue
    return found


def our_answers(zones: Mapping[str, Zone], folder: Path) -> Answers:
    """What we say."""
    document = Document(zones=tuple(zones.values()))
    plan = Plan(number=1, lineage="pairs", created_at=NOW, document=document)
    status = Status(number=1, lineage="pairs", created_at=NOW)
    compile_table(
        Steering(Topology(plan, europe_and_america()), status, NOW),
        folder / "table",
        lambda services: {SECTION: encode_zones(document, 1, services)},
    )
    tables = Tables(AnswerTable.open(folder / "table"), Instance.of(DnsCounters(), {}))
    return {
        key: said(respond(packet, ("192.0.2.1", 53), tables, 0.0, TCP4) or b"")
        for key, packet in questions(list(zones))
    }


def serves(port: int, apex: str) -> bool:
    """Whether the server there has loaded a zone."""
    query = dns.message.make_query(apex, "SOA")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(("127.0.0.1", port))
        try:
            sock.send(query.to_wire())
            return bool(dns.message.from_wire(sock.recv(4096)).answer)
        except OSError:
            return False


def compared(folder: Path, count: int, seed: int) -> tuple[list[str], Counter[str]]:
    """Differences, each as text, and counts of zones and answers. Raises AbsentError."""
    zones = write_zones(folder, count, seed)
    always = folder / "always.zone"
    always.write_text(f"$ORIGIN always.test.\n{_HEAD}")
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        servers: list[Server] = []
        for start in (knot.start_server, nsd.start_server):
            inside = folder / start.__module__.rpartition(".")[2]
            inside.mkdir()
            servers.append(start(inside, {"always.test.": always, **zones})[0])
            stack.callback(servers[-1].stop)
        for server in servers:
            until(lambda port=server.port: serves(port, "always.test."), f"{server.name} answers")
        both = [apex for apex in zones if all(serves(each.port, apex) for each in servers)]
        accepted = loaded({apex: zones[apex] for apex in both})
        counts.update(zones=len(zones), loaded_by_both=len(both), loaded_by_us=len(accepted))
        theirs, others = (answers_of(each.port, list(accepted)) for each in servers)
    ours = our_answers(accepted, folder)
    different = []
    for key, due in theirs.items():
        counts["answers"] += 1
        if due == others[key]:
            counts["agreed"] += 1
            if due != ours[key]:
                text = zones[key[0]].read_text().split(_HEAD)[1].replace("\n", "; ")
                different.append(f"[{text}] {key[1]} {key[2]}:\n  {due}\n  {ours[key]}")
    return different, counts


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Compare small zones with Knot and NSD.")
    parser.add_argument("--zones", type=int, default=1_000_000, help="default: all")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairs-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        different, counts = compared(folder, chosen.zones, chosen.seed)
    print(*different, sep="\n")
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
