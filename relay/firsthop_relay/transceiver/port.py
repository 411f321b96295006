"""The one UDP port of all sessions: its drain loop, and which session a datagram is for.

The ufrag of a STUN request decides to which session it belongs, whatever its source: known sessions
send from new addresses after an ICE restart, through another relay, or if a NAT rebinds. Any other
packet belongs to the session of the last genuine check from its source address.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

from firsthop_ice.session_over import session_over_indication
from firsthop_ice.stun import TRANSACTION_ID_LENGTH
from firsthop_net.listening import bind_udp
from firsthop_relay.transceiver.checks import (
    Answered,
    CheckDrop,
    CheckSource,
    PasswordOf,
    answer_check,
)
from firsthop_relay.transceiver.counts import TransceiverCounters
from firsthop_relay.transceiver.path import Path

DRAIN = 64
"""Maximum number of datagrams read per wake-up, so that sessions and timers run in between."""
DATAGRAM = 65_535
_MAX_STUN_OCTET = 3
"""The highest first octet of a STUN packet (RFC 7983 §7)."""
MAX_UFRAGS = 2
"""Maximum number of ufrags of one session: after a restart, the former one is valid until the next
restart (RFC 8445 §9)."""


class PortSession(Protocol):
    """One session, as the port sees it."""

    path: Path

    def chosen(self) -> None:
        """Called when a check was accepted, so that the path has an address to send to."""

    def take(self, packet: bytes) -> bool:
        """Take DTLS, SRTP or SRTCP from the peer; False if there is no room for it."""


class MediaPort:
    """A bound socket and the sessions behind it."""

    def __init__(
        self, counts: TransceiverCounters, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counts = counts
        self.clock = clock
        self.probe_password_of: PasswordOf = lambda _: None
        """Derives the password of a ufrag without a session, from keys alone, so that probes
        through a relay are answered without opening a session."""
        self._socket: socket.socket | None = None
        self._by_ufrag: dict[bytes, tuple[PortSession, str]] = {}
        self._by_source: dict[CheckSource, PortSession] = {}
        self._ufrags: dict[int, list[bytes]] = {}

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Bind, and start to read in the running loop. Returns the address. Raises ListenError."""
        sock = bind_udp(host, port)
        asyncio.get_running_loop().add_reader(sock, self._drain, sock)
        self._socket = sock
        bound: tuple[str, int] = sock.getsockname()[:2]
        return bound

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def admit(self, peer: PortSession, ufrag: str, password: str) -> None:
        """Assign checks for `ufrag` to this peer; the ufrag before it stays valid too."""
        ufrags = self._ufrags.setdefault(id(peer), [])
        ufrags.append(ufrag.encode())
        self._by_ufrag[ufrags[-1]] = peer, password
        while len(ufrags) > MAX_UFRAGS:
            del self._by_ufrag[ufrags.pop(0)]

    def knows(self, ufrag: str) -> bool:
        """Whether some peer has been admitted under this ufrag."""
        return ufrag.encode() in self._by_ufrag

    def forget(self, peer: PortSession) -> None:
        """Remove a peer, with its ufrags and addresses; relays learn that its session is over."""
        for ufrag in self._ufrags.pop(id(peer), ()):
            del self._by_ufrag[ufrag]
        for source in peer.path.sources:
            if self._by_source.get(source) is peer:
                self._release(source, peer)
                self.send(session_over_indication(os.urandom(TRANSACTION_ID_LENGTH)), source)

    def send(self, packet: bytes, destination: CheckSource) -> None:
        """Send one datagram; if the kernel refuses it, it is counted and lost."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(packet, destination)
        except OSError:
            self.counts.packets_unsent += 1
        else:
            self.counts.sent(packet)

    def receive(self, packet: bytes, source: CheckSource) -> Answered | CheckDrop | None:
        """Process one datagram: an answer, a reason to drop it, or None if it was passed on."""
        now = self.clock()
        if packet and packet[0] <= _MAX_STUN_OCTET:
            answered = answer_check(packet, source, self._password_of, self.probe_password_of)
            of_session = isinstance(answered, Answered) and answered.ufrag in self._by_ufrag
            if isinstance(answered, Answered) and of_session and answered.accepted:
                self._vouched(source, answered, now)
            return answered
        peer = self._by_source.get(source)
        if peer is None:
            return CheckDrop.SOURCE
        peer.path.heard(source, now)
        return None if peer.take(packet) else CheckDrop.QUEUE

    def _vouched(self, source: CheckSource, answered: Answered, now: float) -> None:
        peer, _ = self._by_ufrag[answered.ufrag]
        if answered.transaction_id in peer.path.answered:
            return  # repeated, or replayed by somebody
        peer.path.answered.add(answered.transaction_id)
        self._by_source[source] = peer
        given_up = peer.path.check(source, now, nominated=answered.nominated)
        if given_up is not None:
            self._release(given_up, peer)
        if peer.path.selected is not None:
            peer.chosen()

    def _release(self, source: CheckSource, peer: PortSession) -> None:
        if self._by_source.get(source) is peer:
            del self._by_source[source]

    def _password_of(self, ufrag: bytes) -> str | None:
        found = self._by_ufrag.get(ufrag)
        return None if found is None else found[1]

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(DRAIN):
            try:
                packet, address = sock.recvfrom(DATAGRAM)
            except OSError:  # empty, or the ICMP error of an earlier packet
                return
            source = address[0], address[1]
            self.counts.received(packet)
            outcome = self.receive(packet, source)
            if isinstance(outcome, Answered):
                self._answer(sock, outcome.answer, source)
            elif outcome is None:
                self.counts.packets_passed_on += 1
            else:
                self.counts.dropped[outcome] += 1

    def _answer(self, sock: socket.socket, answer: bytes, source: CheckSource) -> None:
        try:
            sock.sendto(answer, source)
        except OSError:
            self.counts.dropped[CheckDrop.SEND] += 1
        else:
            self.counts.checks_answered += 1
