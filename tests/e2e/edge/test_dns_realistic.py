"""A zone as companies have them: one round trip each through Unbound, and no lever for a flood."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from bench.peers.process import AbsentError

from firsthop_dns.serve.server import DnsServer
from support.waiting import until
from wire import sample
from wire.servers import unbound

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("unbound")]

ONE_WAY_S = 0.025
LOOKUPS = [
    *(("shop.test", kind) for kind in ("A", "AAAA", "NS", "SOA", "MX", "TXT", "CAA")),
    ("mail2026._domainkey.shop.test", "TXT"),
    ("_dmarc.shop.test", "TXT"),
    ("_sip._udp.shop.test", "SRV"),
    ("cdn.shop.test", "A"),
    ("cdn.shop.test", "AAAA"),
    ("nosuch.shop.test", "A"),
    ("x.dev.shop.test", "A"),
]
FLOODED_S = 1.5
FLOOD_A_SECOND = 2000
LONGEST = ("mail2026._domainkey.shop.test", "TXT")
VICTIM, CLIENT = "127.77.0.1", "127.88.0.1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DnsServer]:
    """One that limits loopback too."""
    tables = sample.tables(
        sample.compiled(tmp_path, name="realistic.yaml"), rate_limit_exempt=[], nsid=""
    )
    with sample.running([("127.0.0.1", 0)], tables) as running:
        yield running


class Link(asyncio.DatagramProtocol):
    """One resolver's path to a server: `ONE_WAY_S` for each datagram, in either direction."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._ways: dict[tuple[str, int], asyncio.DatagramTransport] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._here = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(ONE_WAY_S, lambda: loop.create_task(self._forward(data, addr)))

    async def _forward(self, data: bytes, resolver: tuple[str, int]) -> None:
        loop, here = asyncio.get_running_loop(), self._here

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                loop.call_later(ONE_WAY_S, here.sendto, data, resolver)

        if resolver not in self._ways:
            made = await loop.create_datagram_endpoint(Back, remote_addr=self._server)
            self._ways[resolver] = made[0]
        self._ways[resolver].sendto(data)


@contextmanager
def link(server: tuple[str, int]) -> Iterator[int]:
    """The port of a link to `server`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    making = loop.create_datagram_endpoint(lambda: Link(server), local_addr=("127.0.0.1", 0))
    transport, _ = asyncio.run_coroutine_threadsafe(making, loop).result(10)
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_unbound_needs_one_round_trip_for_each_answer(server: DnsServer, tmp_path: Path) -> None:
    """It sends no cookies; over a link of 50 ms nothing is asked twice, and nothing over TCP."""
    counters = server.tables.counters
    with link(server.addresses[0]) as port:
        try:
            resolver = unbound.start_server(port, ["shop.test."], tmp_path, minimising=False)
        except AbsentError as reason:
            pytest.skip(str(reason))
        try:
            until(lambda: _resolved(resolver.port, "ready.shop.test", "A"), "Unbound answers")
            for name, kind in LOOKUPS:
                before = counters.total("firsthop_dns_requests_total")
                answer = _resolved(resolver.port, name, kind)
                assert answer is not None, (name, kind)
                assert answer.rcode() == dns.rcode.NOERROR or name == "nosuch.shop.test"
                assert counters.total("firsthop_dns_requests_total") == before + 1, (name, kind)
        finally:
            resolver.stop()
    assert counters.total("firsthop_dns_tcp_connections_total") == 0


def _resolved(port: int, name: str, kind: str) -> dns.message.Message | None:
    """The resolver's answer; None if it has none yet."""
    asked = dns.message.make_query(name, kind, use_edns=0)
    try:
        answer = dns.query.udp_with_fallback(asked, "127.0.0.1", port=port, timeout=1)[0]
    except (OSError, dns.exception.DNSException):
        return None
    return None if answer.rcode() == dns.rcode.SERVFAIL else answer


class Victim(threading.Thread):
    """Sends a flood in the name of its own network, and counts what comes back."""

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.sent = self.received = 0
        self.packet = dns.message.make_query(*LONGEST, use_edns=0).to_wire()
        self._sock = socket.socket(type=socket.SOCK_DGRAM)
        self._sock.bind((VICTIM, 0))
        self._sock.connect(server)
        self._sock.setblocking(False)

    def run(self) -> None:
        started = time.monotonic()
        while (spent := time.monotonic() - started) < FLOODED_S:
            if self.sent > FLOOD_A_SECOND * spent * len(self.packet):
                time.sleep(0.002)
            self._sock.send(self.packet)
            self.sent += len(self.packet)
            self._read()

    def close(self) -> None:
        """Its socket."""
        self._sock.close()

    def _read(self) -> None:
        try:
            while True:
                self.received += len(self._sock.recv(4096))
        except BlockingIOError:
            return


def test_a_flood_that_names_a_network_gains_little_and_hurts_nobody_else(
    server: DnsServer,
) -> None:
    """At most three times its octets; a client elsewhere gets 99 % of its answers at once."""
    address = server.addresses[0]
    victim = Victim(address)
    victim.start()
    asked = answered = 0
    while victim.is_alive():
        name, kind = LOOKUPS[asked % len(LOOKUPS)]
        asked += 1
        answered += _answered(dns.message.make_query(name, kind, use_edns=0), address)
    victim.join()
    victim.close()
    assert victim.sent > 500 * FLOODED_S * len(victim.packet), "the flood was too slow"
    assert victim.received <= 3 * victim.sent
    assert asked > 50
    assert answered >= 0.99 * asked


def _answered(query: dns.message.Message, address: tuple[str, int]) -> bool:
    """Whether one query is answered, over TCP if the reply says so."""
    host, port = address
    try:
        reply = dns.query.udp(query, host, port=port, source=CLIENT, timeout=2)
        if reply.flags & dns.flags.TC:
            reply = dns.query.tcp(query, host, port=port, source=CLIENT, timeout=2)
    except (OSError, dns.exception.DNSException):
        return False
    return bool(reply.answer or reply.authority)
