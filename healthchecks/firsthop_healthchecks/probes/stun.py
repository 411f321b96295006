"""Authenticated STUN through the relay's own media port.

All checks share one UDP socket per family. An answer counts if its transaction id is outstanding,
it comes from the target's address, and its MESSAGE-INTEGRITY was made with the probe's password: so
only holders of the route key can make a dead relay look alive.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.probes import (
    Failed,
    Passed,
    ProbeOutcome,
    Unable,
    timed_out,
)
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_ice.path_probe import path_probe_request
from firsthop_ice.stun import Message, StunError, StunMessageType, binding_request, parse
from firsthop_ice.ufrag import claimed_expiry
from firsthop_steering.feed.reports import ProbeTarget

BUFFER = 4 * 1024 * 1024  # thousands of checks may be outstanding at once
DATAGRAM = 2048
DRAIN = 10_000  # in effect all datagrams: reading fewer would fall behind the timers that send
EXPIRY_MARGIN = timedelta(minutes=1)  # relays use their own clocks


@dataclass(slots=True)
class _Waiting:
    target: ProbeTarget
    password: str
    sent_at: float
    answer: asyncio.Future[ProbeOutcome]
    silence: Failed
    """The outcome if no answer comes in time."""


class StunProbe:
    """Sends Binding requests (RFC 8489) as an ICE agent would, without retransmission.

    A lost packet is a failed check; `fall` makes that harmless.
    """

    def __init__(
        self, source: SourceAddresses = ANY, *, wall: Callable[[], datetime] = utc_now
    ) -> None:
        self._source = source
        self._wall = wall
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: dict[bytes, _Waiting] = {}

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if the relay answers with a valid MESSAGE-INTEGRITY."""
        if target.ufrag is None or target.password is None:
            return Unable("no probe credential")
        expires_at = claimed_expiry(target.ufrag)
        if expires_at is None or expires_at <= self._wall() + EXPIRY_MARGIN:
            return Unable("the probe credential has expired")
        loop = asyncio.get_running_loop()
        transaction_id = os.urandom(12)
        username = target.ufrag.encode() + b":probe"
        request = path_probe_request if target.kind == "path" else binding_request
        packet = request(transaction_id, username, target.password)
        answer: asyncio.Future[ProbeOutcome] = loop.create_future()
        waiting = _Waiting(target, target.password, loop.time(), answer, timed_out(target))
        self._waiting[transaction_id] = waiting
        timer = loop.call_later(target.timeout_s, self._give_up, waiting)
        try:
            sock = self._socket(target.address.version)
            sock.sendto(packet, (str(target.address), target.port))
            return await answer
        except OSError as error:
            return self._source.not_reached(target, error)
        finally:
            timer.cancel()
            del self._waiting[transaction_id]

    async def close(self) -> None:
        """Close the shared sockets."""
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _socket(self, version: int) -> socket.socket:
        sock = self._sockets.get(version)
        if sock is None:
            sock = self._source.new_socket(version, socket.SOCK_DGRAM)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            asyncio.get_running_loop().add_reader(sock, self._drain, sock)
            self._sockets[version] = sock
        return sock

    def _give_up(self, waiting: _Waiting) -> None:
        """Time out, unless the answer waits in the socket because this process was paused."""
        if not waiting.answer.done():
            self._drain(self._sockets[waiting.target.address.version])
        if not waiting.answer.done():
            waiting.answer.set_result(waiting.silence)

    def _drain(self, sock: socket.socket) -> None:
        now = asyncio.get_running_loop().time()
        for _ in range(DRAIN):
            try:
                packet, source = sock.recvfrom(DATAGRAM)
            except OSError:
                return
            self._receive(packet, source, now)

    def _receive(self, packet: bytes, source: tuple[str, int], now: float) -> None:
        waiting = self._waiting.get(packet[8:20])
        if waiting is None or waiting.answer.done() or not _same_address(source, waiting.target):
            return  # late, a duplicate, or not ours
        try:
            message = parse(packet)
            if not message.authentic(waiting.password):
                waiting.silence = Failed("answer with a wrong MESSAGE-INTEGRITY")
                return
            waiting.answer.set_result(_judge(message, (now - waiting.sent_at) * 1000))
        except StunError as error:
            waiting.silence = Failed(f"answer is not STUN: {error}")


def _judge(message: Message, duration_ms: float) -> ProbeOutcome:
    if message.kind == StunMessageType.SUCCESS and message.mapped_address() is not None:
        return Passed(duration_ms)
    code, phrase = message.error() or (0, "not a Binding success")
    return Failed(f"STUN error {code} {phrase}")


def _same_address(source: tuple[str, int], target: ProbeTarget) -> bool:
    if source[1] != target.port:
        return False
    return source[0] == str(target.address) or ip_address(source[0]) == target.address
