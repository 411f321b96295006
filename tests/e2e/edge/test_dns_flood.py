"""A flood of forged queries: who shows that the address is its own is served all the same."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import pytest

from support.edges import NAME, Edges
from support.waiting import until

pytestmark = pytest.mark.e2e

SOURCES = 10_000
NETWORKS = 40
"""/24s that the sources are from; the real clients live in one of them."""
RATE = 8000
"""Forged queries a second: 200 for each network."""
LIMIT = 40
DROPPED = 1000
"""Replies that have to be held back before the client asks: how soon depends on the machine."""
ASKED = 400
_IP_PKTINFO = 8
_PKTINFO = struct.Struct("=I4s4s")


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[Edges]:
    """One that limits loopback too."""
    made = Edges(tmp_path, hosts=["0.0.0.0"])
    made.environment["FIRSTHOP_DNS_RATE_LIMIT"] = str(LIMIT)
    made.environment["FIRSTHOP_DNS_RATE_LIMIT_EXEMPT"] = "none"
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.wait()


class Flood(threading.Thread):
    """Sends queries from addresses that are not its own, and never reads an answer."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._port = port
        self._over = threading.Event()
        draw = random.Random(10)
        self._sources = [
            bytes((127, 77, number % NETWORKS, 1 + number // NETWORKS % 250))
            for number in range(SOURCES)
        ]
        draw.shuffle(self._sources)

    def run(self) -> None:
        packet = dns.message.make_query(NAME, "A", use_edns=0).to_wire()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # full at once
            started = time.monotonic()
            while not self._over.is_set():
                source = self._sources[self.sent % SOURCES]
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source, bytes(4)))]
                sock.sendmsg([packet], control, 0, ("127.0.0.1", self._port))
                self.sent += 1
                ahead = self.sent / RATE - (time.monotonic() - started)
                if ahead > 0.01:
                    self._over.wait(ahead)

    def stop(self) -> None:
        self._over.set()
        self.join(10)


class FloodedResolver:
    """A resolver at an address of its own, which asks once and does not repeat itself."""

    def __init__(self, host: str, port: int) -> None:
        self._sock = socket.socket(type=socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.connect(("127.0.0.1", port))
        self._sock.settimeout(2.0)
        self.cookie = b"\1\2\3\4\5\6\7\x08"

    def ask(self, *, cookie: bool) -> dns.message.Message | None:
        """The answer, if one comes."""
        options = [dns.edns.GenericOption(10, self.cookie)] if cookie else []
        query = dns.message.make_query(NAME, "A", use_edns=0, options=options)
        self._sock.send(query.to_wire())
        try:
            answer = dns.message.from_wire(self._sock.recv(4096))
            while not query.is_response(answer):  # to an earlier one, and late
                answer = dns.message.from_wire(self._sock.recv(4096))
        except TimeoutError:
            return None
        for each in answer.options:
            if each.otype == 10:
                self.cookie = each.to_wire() or self.cookie
        return answer


def test_a_client_with_a_cookie_outlives_a_flood_of_its_own_network(edges: Edges) -> None:
    """10,000 forged sources, 250 of them neighbours: 99 % of its queries are answered.

    And one without a cookie hears, from time to time, that it should try TCP.
    """
    edges.start()
    edges.wait_ready()
    with_cookie, without = (FloodedResolver(f"127.77.0.{host}", edges.dns) for host in (251, 252))
    assert with_cookie.ask(cookie=True) is not None
    flood = Flood(edges.dns)
    flood.start()
    try:
        until(lambda: flood.sent > SOURCES, "every source has been used")
        until(lambda: _limited(edges) > DROPPED, "the limit holds the flood down")
        answers = [with_cookie.ask(cookie=True) for _ in range(ASKED)]
        answered = sum(each is not None and bool(each.answer) for each in answers)
        told = until(lambda: without.ask(cookie=False), "a stranger hears something")
    finally:
        flood.stop()
    assert answered >= 0.99 * ASKED
    assert told.flags & dns.flags.TC or told.answer


def _limited(edges: Edges) -> int:
    """Replies that the edge has not sent, because of its limit."""
    dropped = re.findall(r'dns_dropped_total\{reason="rate_limit"\} (\d+)', edges.get("/metrics"))
    return sum(map(int, dropped))
