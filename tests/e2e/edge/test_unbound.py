"""Unbound in front of us: strict QNAME minimisation, 0x20 and its ECS cache, over loopback.

What a resolver makes of our answers, and which of them it asks for again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from bench.peers.process import AbsentError

from wire import sample
from wire.servers import unbound
from wire.target import Target

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("unbound")]

GEO = "geo.example.test."
CLIENTS = 200
START_S = 120.0


class Resolver:
    """Unbound and our server behind it."""

    def __init__(self, port: int, ours: Target) -> None:
        self.port = port
        self.ours = ours

    def ask(
        self, name: str | dns.name.Name, kind: str = "A", *, subnet: str | None = None
    ) -> dns.message.Message:
        """What Unbound says, RD set, over TCP where it must."""
        options = []
        if subnet is not None:
            address, _, length = subnet.partition("/")
            options.append(dns.edns.ECSOption(address, int(length), 0))
        asked = dns.message.make_query(name, kind, use_edns=0, options=options)
        return dns.query.udp_with_fallback(asked, "127.0.0.1", port=self.port, timeout=10)[0]

    @property
    def arrived(self) -> int:
        """Queries that our server has got so far."""
        assert self.ours.server is not None
        return self.ours.server.tables.counters.total("firsthop_dns_requests_total")


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    """Both, for all tests of this file."""
    folder = tmp_path_factory.mktemp("unbound")
    made = sample.compiled(tmp_path_factory.mktemp("sample"))
    with sample.running([("127.0.0.1", 0)], sample.tables(made)) as server:
        ours = Target("127.0.0.1", server.addresses[0][1], server)
        try:
            process = unbound.start_server(ours.port, ["example.test."], folder)
        except AbsentError as reason:
            pytest.skip(str(reason))
        try:
            found = Resolver(process.port, ours)
            _wait(found)
            yield found
            process.cpu()  # raises when it has ended by itself
        finally:
            process.stop()


def _wait(resolver: Resolver) -> None:
    deadline = time.monotonic() + START_S
    asked = dns.message.make_query("example.test", "SOA")
    while time.monotonic() < deadline:
        try:
            if dns.query.udp(asked, "127.0.0.1", port=resolver.port, timeout=0.3).answer:
                return
        except (OSError, dns.exception.DNSException):
            time.sleep(0.05)
    pytest.fail("Unbound gave no SOA")


def addresses(answer: dns.message.Message) -> list[str]:
    """Of all A records."""
    return sorted(rr.address for each in answer.answer for rr in each if rr.rdtype == 1)


def subnet_of(answer: dns.message.Message) -> dns.edns.ECSOption:
    """The one option."""
    (found,) = (each for each in answer.options if isinstance(each, dns.edns.ECSOption))
    return found


def clients(count: int) -> list[str]:
    """/24s, the same ones every time: half of them near the edges of the map."""
    rng = random.Random(7871)
    found: set[str] = set()
    networks = [ip_network(text) for text, _ in sample.PLACES if "." in text]
    while len(found) < count:
        base = rng.getrandbits(32)
        if rng.random() < 0.5:
            network = rng.choice(networks)
            base = int(network[0]) + rng.choice([-256, 0, network.num_addresses])
        address = IPv4Address(base & 0xFFFFFF00)
        if not address.is_multicast and base & 0xFFFFFF00 == int(address):
            found.add(f"{address}/24")
    return sorted(found)


def test_each_client_gets_the_answer_for_its_subnet(resolver: Resolver) -> None:
    """Twice round, so that the second answer may be the cached one of a neighbour."""
    wanted = clients(CLIENTS)
    due = {each: addresses(resolver.ours.ask(GEO, subnet=each)) for each in wanted}
    assert len({tuple(each) for each in due.values()}) >= 3
    for _ in range(2):
        for subnet in wanted:
            answer = resolver.ask(GEO, subnet=subnet)
            assert answer.rcode() == dns.rcode.NOERROR, subnet
            assert addresses(answer) == due[subnet], subnet


@pytest.mark.parametrize("subnet", ["203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"])
def test_a_second_client_of_the_scope_is_answered_from_the_cache(
    resolver: Resolver, subnet: str
) -> None:
    """RFC 7871 §7.3.1: no query arrives here for an address inside the scope that was told."""
    first = resolver.ask(GEO, subnet=subnet)
    scope = subnet_of(first).scopelen
    network = ip_network(f"{subnet.partition('/')[0]}/{min(scope, 24)}", strict=False)
    before = resolver.arrived
    again = resolver.ask(GEO, subnet=f"{network[0]}/24")
    assert addresses(again) == addresses(first)
    assert resolver.arrived == before


def owners() -> list[tuple[dns.name.Name, str, dns.rrset.RRset]]:
    """Every RRset of the zone file that this zone itself answers with."""
    zone = sample.zone()
    cuts = [name for name, _ in zone.iterate_rdatasets("NS") if name != sample.APEX]
    return [
        (name, dns.rdatatype.to_text(each.rdtype), dns.rrset.from_rdata_list(name, each.ttl, each))
        for name, each in zone.iterate_rdatasets()
        if not any(name.is_subdomain(cut) for cut in cuts)
    ]


def test_every_static_rrset_comes_through(resolver: Resolver) -> None:
    """As the zone file has it, whatever Unbound did to ask for it."""
    wrong = []
    for name, kind, due in owners():
        if kind == "SOA":
            continue  # its serial may be the server's own
        if kind == "CNAME" and resolver.ours.ask(name).rcode() == dns.rcode.NXDOMAIN:
            # Strict minimisation asks for A first, and takes the NXDOMAIN of the alias's end (RFC
            # 6604 §3) for the alias itself; behind Knot and BIND it does the same.
            continue
        answer = resolver.ask(name, kind)
        found = [each for each in answer.answer if each.name == name]
        same = found and found[0].to_rdataset() == due.to_rdataset() and found[0].ttl <= due.ttl
        if not same:
            wrong.append(f"{name} {kind}: {dns.rcode.to_text(answer.rcode())} {answer.answer}")
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nosuch.example.test.", "A", dns.rcode.NXDOMAIN),
        ("x.deep.example.test.", "A", dns.rcode.NXDOMAIN),
        ("deep.example.test.", "A", dns.rcode.NOERROR),
        ("b.deep.example.test.", "MX", dns.rcode.NOERROR),
        ("www.example.test.", "MX", dns.rcode.NOERROR),
        ("dangling.example.test.", "A", dns.rcode.NXDOMAIN),
        ("geo.example.test.", "SRV", dns.rcode.NOERROR),
        ("x.exists.wild.example.test.", "A", dns.rcode.NXDOMAIN),
        ("ent.wild.example.test.", "A", dns.rcode.NOERROR),
    ],
)
def test_what_is_not_there(resolver: Resolver, name: str, kind: str, rcode: int) -> None:
    """NXDOMAIN and NODATA survive strict minimisation and harden-below-nxdomain."""
    answer = resolver.ask(name, kind)
    assert answer.rcode() == rcode
    assert not any(each.rdtype == dns.rdatatype.from_text(kind) for each in answer.answer)


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("chain.example.test.", ["192.0.2.80", "192.0.2.81"]),
        ("long.example.test.", ["192.0.2.99"]),
        ("a.b.wild.example.test.", ["192.0.2.90"]),
        ("x.cwild.example.test.", ["192.0.2.80", "192.0.2.81"]),
        ("y.again.example.test.", ["192.0.2.90"]),
        ("host.dname.example.test.", ["192.0.2.95"]),
        ("intodname.example.test.", ["192.0.2.95"]),
    ],
)
def test_what_is_made_up_on_the_way(resolver: Resolver, name: str, due: list[str]) -> None:
    """Chains longer than one answer, wildcards, DNAME: the resolver finds their end."""
    assert addresses(resolver.ask(name)) == due


def test_a_steered_alias_is_tailored(resolver: Resolver) -> None:
    """RFC 7871 §7.2.1: the chain ends before the steered name, which is then asked for."""
    for subnet, due in (("198.51.100.0/24", "192.0.2.21"), ("203.0.113.0/24", "192.0.2.31")):
        assert addresses(resolver.ask("steered.example.test.", subnet=subnet)) == [due]
