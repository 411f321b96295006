"""Requests the number of sessions from relays, for an edge that is isolated.

Relays report their load to the control plane. An edge without one asks the relays, with probes that
it makes with its credential keys (`firsthop_ice.relay_load`). This module does not use the loads.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

import structlog

from firsthop_ice.relay_load import RelayLoad, load_request, read_load
from firsthop_ice.stun import TRANSACTION_ID_LENGTH
from firsthop_ice.ufrag import ENTROPY_LENGTH, Credential, CredentialKeys, mint_probe
from firsthop_steering.decision.candidates_up import CandidatesUp
from firsthop_steering.feed.snapshot import KeySet, Plan

log = structlog.get_logger(__name__)

INTERVAL_S = 5.0
JITTER = 0.1
"""Random variation of a round's duration, so that edges isolated together do not stay in step."""
SHORTEST_PAUSE_S = 0.002
"""Pause between two datagrams: at most 500 per second."""
KNOWN_S = 15.0
"""A load expires after this time, so that two answers in a row may be lost."""
CREDENTIAL_LIFETIME = timedelta(minutes=5)
"""Long enough for relays' clocks that differ from ours."""
DATAGRAM = 2048
DRAIN = 64

Askable = tuple[str, IPv4Address | IPv6Address, int]
"""A relay's id, one of its addresses, and its port."""


@dataclass(frozen=True, slots=True)
class ReportedLoad:
    """The last load that a relay reported."""

    sessions: int
    draining: bool
    at: float
    """When it arrived, by the watch's clock (monotonic seconds)."""


@dataclass(frozen=True, slots=True)
class _Question:
    relay: str
    address: IPv4Address | IPv6Address
    port: int
    password: str

    def is_of(self, source: tuple[str, int]) -> bool:
        return source[1] == self.port and ip_address(source[0]) == self.address


def askable(plan: Plan, relays_up: CandidatesUp) -> list[Askable]:
    """The relays of `plan` that are up, ordered by id, without TURN servers.

    `relays_up` has the plan's relays. A relay with two addresses that are up is listed with both,
    since the edge may have only one of the families.
    """
    relays = {relay.id: relay for relay in plan.document.relays if relay.kind == "relay"}
    found: dict[str, list[Askable]] = {}
    for endpoint in (each for field in relays_up.up for each in field):
        relay = relays.get(endpoint.id)
        if relay is not None:
            both = endpoint.ipv4, endpoint.ipv6
            found[relay.id] = [(relay.id, each, relay.udp_port) for each in both if each]
    return [each for relay in sorted(found) for each in found[relay]]


class LoadBoard:
    """The outstanding question to each address, and the last load of each relay. Pure."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter(asked=0, not_sent=0, heard=0, stray=0)
        """Counts questions by whether they were sent, and datagrams by kind: `heard` (a load),
        `stray` (the response to no outstanding question) or a reason of `NoLoad`."""
        self._questions: dict[bytes, _Question] = {}
        """The outstanding questions, by transaction id."""
        self._newest: dict[Askable, bytes] = {}
        """The transaction id of the last question to each address."""
        self._loads: dict[str, ReportedLoad] = {}

    def question(self, askable: Askable, credential: Credential, transaction_id: bytes) -> bytes:
        """The datagram to send; it replaces an earlier question to the same address."""
        relay, address, port = askable
        self._questions.pop(self._newest.get(askable, b""), None)
        self._newest[askable] = transaction_id
        self._questions[transaction_id] = _Question(relay, address, port, credential.password)
        return load_request(transaction_id, credential)

    def receive(self, packet: bytes, source: tuple[str, int], now: float) -> None:
        """Process a datagram from an address and port; never raises, for any content."""
        transaction_id = packet[8 : 8 + TRANSACTION_ID_LENGTH]
        question = self._questions.get(transaction_id)
        if question is None or not question.is_of(source):
            self.outcomes["stray"] += 1
            return
        load = read_load(packet, question.password)
        if isinstance(load, RelayLoad):
            self._loads[question.relay] = ReportedLoad(load.sessions, load.draining, now)
            self.outcomes["heard"] += 1
            del self._questions[transaction_id]
        else:  # perhaps forged: the genuine answer may still come
            self.outcomes[load.reason] += 1

    def forget_all_but(self, askables: Set[Askable]) -> None:
        """Drop questions to other addresses, and loads of other relays."""
        for askable in self._newest.keys() - askables:
            self._questions.pop(self._newest.pop(askable), None)
        for relay in self._loads.keys() - {relay for relay, _, _ in askables}:
            del self._loads[relay]

    def loads(self, now: float) -> dict[str, ReportedLoad]:
        """The load of each relay that answered within the last 15 s, by id."""
        return {relay: each for relay, each in self._loads.items() if each.at >= now - KNOWN_S}


class LoadWatch:
    """Between `start` and `stop`, asks every relay about every five seconds, evenly spread.

    At 500 datagrams per second, a round of more than about 2,000 addresses takes longer than five
    seconds; with more than about 6,000, some loads expire before the next round.
    """

    def __init__(
        self,
        relays: Callable[[], Iterable[Askable]],
        keys: Callable[[], KeySet | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`relays` and `keys` are called before every round; without keys, no relay is asked."""
        self.board = LoadBoard()
        self._relays = relays
        self._keys = keys
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._asking = asyncio.Event()
        self._sockets: dict[int, socket.socket] = {}
        self._keys_error = ""

    def start(self) -> None:
        """Start asking."""
        self._asking.set()

    def stop(self) -> None:
        """Stop asking; the known loads expire."""
        self._asking.clear()

    def loads(self) -> dict[str, ReportedLoad]:
        """The load of each relay that answered within the last 15 s, by id."""
        return self.board.loads(self._clock())

    async def run(self) -> None:
        """Run until cancelled. Raises the exceptions of its callables."""
        try:
            while True:
                if not self._asking.is_set():
                    self._close()
                await self._asking.wait()
                await self._round()
        finally:
            self._close()

    async def _round(self) -> None:
        relays = list(self._relays())
        self.board.forget_all_but(set(relays))
        credential = self._credential() if relays else None
        due = self._clock()
        pause = random.uniform(1 - JITTER, 1 + JITTER) * INTERVAL_S  # noqa: S311
        if credential is None:
            await self._sleep(pause)
            return
        for relay in relays:
            if not self._asking.is_set():
                return
            self._ask(relay, credential)
            due += pause / len(relays)
            await self._sleep(max(due - self._clock(), SHORTEST_PAUSE_S))

    def _credential(self) -> Credential | None:
        """A credential for one round; None without keys, or if the keys or the clock are wrong."""
        keys = self._keys()
        if keys is None:
            return None
        expires_at = self._wall() + CREDENTIAL_LIFETIME
        entropy = os.urandom(ENTROPY_LENGTH)
        error, credential = "", None
        try:
            signing = CredentialKeys.from_keyset(keys)
            credential = mint_probe(
                signing, expires_at=expires_at, entropy=entropy, reads_load=True
            )
        except ValueError as found:
            error = str(found)
        if error and error != self._keys_error:
            log.error("relay_loads.unavailable", reason=error)
        self._keys_error = error
        return credential

    def _ask(self, askable: Askable, credential: Credential) -> None:
        _, address, port = askable
        transaction_id = os.urandom(TRANSACTION_ID_LENGTH)
        packet = self.board.question(askable, credential, transaction_id)
        try:
            self._socket(address.version).sendto(packet, (str(address), port))
        except OSError:  # no route, or no such address family here: the load stays unknown
            self.board.outcomes["not_sent"] += 1
        else:
            self.board.outcomes["asked"] += 1

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(DRAIN):
            try:
                packet, source = sock.recvfrom(DATAGRAM)
            except OSError:  # no more datagrams, or an ICMP error: wait for the next datagram
                return
            self.board.receive(packet, source, self._clock())

    def _socket(self, version: int) -> socket.socket:
        sock = self._sockets.get(version)
        if sock is None:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            asyncio.get_running_loop().add_reader(sock, self._drain, sock)
            self._sockets[version] = sock
        return sock

    def _close(self) -> None:
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()
