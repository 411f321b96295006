"""Light DNS clients: queries made once, answers read by their place, many a second."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

import dns.edns
import dns.message

from field.namespaces import Place

_HEADER = struct.Struct(">6H")
_SHORTEST_RECORD = 16
"""Owner pointer, type, class, TTL, length, IPv4 address."""
_POINTER = b"\xc0\x0c\x00\x01\x00\x01"
"""The question's name again (RFC 1035 §4.1.4), type A, class IN."""


class Query:
    """An A query for a client subnet; `packet` gives it an id."""

    def __init__(self, name: str, subnet: str) -> None:
        option = dns.edns.ECSOption.from_text(subnet)
        message = dns.message.make_query(name, "A", use_edns=0, options=[option])
        self._rest = message.to_wire()[2:]
        self._answer = self._rest.index(b"\0\x00\x01\x00\x01", 10) + 7

    def packet(self, number: int) -> bytes:
        """The octets of this query with the id `number` mod 65,536."""
        return (number & 0xFFFF).to_bytes(2, "big") + self._rest

    def address(self, reply: bytes) -> str:
        """The one address that answers; empty for any other reply."""
        start = self._answer
        if len(reply) < start + _SHORTEST_RECORD or _HEADER.unpack_from(reply)[3] != 1:
            return ""
        if reply[3] & 0xF or reply[start : start + 6] != _POINTER:
            return ""
        return str(IPv4Address(reply[start + 12 : start + 16]))


class Heard(NamedTuple):
    """One answer: when it was asked for and came (seconds since 1970), from whom, to whom, what."""

    asked_at: float
    at: float
    edge: str
    client: str
    address: str


class Poller(threading.Thread):
    """Asks every edge for some clients every `every_s`, and notes all answers.

    A query is not repeated: the next one is near. A reply that is no address counts as ''.
    """

    def __init__(
        self,
        place: Place,
        edges: Mapping[str, str],
        name: str,
        subnets: Mapping[str, str],
        *,
        every_s: float,
    ) -> None:
        """`edges` are addresses by name; `subnets` are the clients' by name."""
        super().__init__(daemon=True)
        self.heard: list[Heard] = []
        self._place, self._edges, self._every_s = place, dict(edges), every_s
        self._queries = {client: Query(name, subnet) for client, subnet in subnets.items()}
        self._watched: Sequence[str] = tuple(subnets)
        self._ending = threading.Event()

    def watch(self, clients: Sequence[str]) -> None:
        """Ask for these from now on, and forget what was heard."""
        self._watched = tuple(clients)
        self.heard = []

    def end(self) -> None:
        """Ask no more."""
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Poll until `end`."""
        with self._place.entered(), selectors.DefaultSelector() as selector:
            for edge, address in self._edges.items():
                sock = socket.socket(type=socket.SOCK_DGRAM)
                sock.setblocking(False)
                sock.connect((address, 53))
                selector.register(sock, selectors.EVENT_READ, edge)
            self._poll(selector)
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]

    def _poll(self, selector: selectors.BaseSelector) -> None:
        waiting: dict[tuple[str, int], tuple[float, str]] = {}
        sockets = [(key.data, key.fileobj) for key in selector.get_map().values()]
        number, due = 0, time.monotonic()
        while not self._ending.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + self._every_s, now)
                for client in self._watched:
                    number += 1
                    for edge, sock in sockets:
                        waiting[edge, number & 0xFFFF] = time.time(), client
                        _send(sock, self._queries[client].packet(number))  # type: ignore[arg-type]
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                self._take(key.fileobj, key.data, waiting)  # type: ignore[arg-type]

    def _take(
        self, sock: socket.socket, edge: str, waiting: dict[tuple[str, int], tuple[float, str]]
    ) -> None:
        while (reply := _receive(sock)) is not None:
            asked = waiting.pop((edge, int.from_bytes(reply[:2], "big")), None)
            if asked is not None:
                address = self._queries[asked[1]].address(reply)
                self.heard.append(Heard(asked[0], time.time(), edge, asked[1], address))


def _send(sock: socket.socket, packet: bytes) -> None:
    try:
        sock.send(packet)
    except OSError:
        return  # nobody listens just now, or the way is cut: as good as lost


def _receive(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(4096)
    except OSError:
        return None


def ask_once(query: Query, address: str, *, within_s: float, number: int = 1) -> str:
    """One query to one edge from this thread's place; empty when no address came back in time."""
    end = time.monotonic() + within_s
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, 53))
            sock.send(query.packet(number))
            while (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                reply = sock.recv(4096)
                if reply[:2] == (number & 0xFFFF).to_bytes(2, "big"):
                    return query.address(reply)
        except OSError:
            return ""
    return ""
