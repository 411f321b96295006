"""Checks a TURN server with a client's Allocate request and long-term credentials (RFC 8656).

Two round trips from one port: the challenge, and the allocation, which is released at once. The
answer counts if it contains a relayed address and its MESSAGE-INTEGRITY was made with our
credential: so only holders of that credential can make a dead server look alive.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import datetime

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.probes import (
    Failed,
    Passed,
    ProbeOutcome,
    Unable,
    timed_out,
)
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_ice.stun import StunError, parse
from firsthop_ice.turn import (
    XOR_RELAYED_ADDRESS,
    Challenge,
    TurnCredential,
    TurnKind,
    allocate_request,
    challenge_in,
    integrity_key,
    release_request,
    username_expiry,
)
from firsthop_steering.feed.reports import ProbeTarget

DATAGRAM = 2048
MARGIN_S = 60  # servers use their own clocks
ROUNDS = 3  # the challenge, one stale nonce (RFC 8489 §9.2.5), the allocation


class TurnProbe:
    """Uses one socket per check, as an allocation belongs to the address that requested it."""

    def __init__(
        self, source: SourceAddresses = ANY, *, wall: Callable[[], datetime] = utc_now
    ) -> None:
        self._source = source
        self._wall = wall

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if the server grants an allocation; the duration is that of both round trips."""
        if target.ufrag is None or target.password is None:
            return Unable("no probe credential")
        expiry = username_expiry(target.ufrag)
        if expiry is None or expiry <= self._wall().timestamp() + MARGIN_S:
            return Unable("the probe credential has expired")
        credential = TurnCredential(target.ufrag, target.password)
        try:
            async with asyncio.timeout(target.timeout_s):
                with self._source.new_socket(target.address.version, socket.SOCK_DGRAM) as sock:
                    sock.connect((str(target.address), target.port))
                    return await _allocate(sock, credential)
        except TimeoutError:
            return timed_out(target)
        except OSError as error:
            return self._source.not_reached(target, error)

    async def close(self) -> None:
        """Checks share nothing."""


async def _allocate(sock: socket.socket, credential: TurnCredential) -> ProbeOutcome:
    loop = asyncio.get_running_loop()
    started, challenge = loop.time(), None
    for _ in range(ROUNDS):
        transaction_id = os.urandom(12)
        await loop.sock_sendall(sock, allocate_request(transaction_id, credential, challenge))
        answer = await _answer(sock, transaction_id)
        try:
            found = judge(answer, credential, challenge)
        except StunError as error:
            return Failed(f"answer is not TURN: {error}")
        if isinstance(found, Challenge):
            challenge = found
            continue
        if found is not None:
            return found
        assert challenge is not None
        took_ms = (loop.time() - started) * 1000
        await loop.sock_sendall(sock, release_request(os.urandom(12), credential, challenge))
        return Passed(took_ms)
    return Failed("it requires another nonce every time")


async def _answer(sock: socket.socket, transaction_id: bytes) -> bytes:
    """The next datagram of this transaction; others, late or forged, are ignored."""
    loop = asyncio.get_running_loop()
    while True:
        packet = await loop.sock_recv(sock, DATAGRAM)
        if packet[8:20] == transaction_id:
            return packet


def judge(
    packet: bytes, credential: TurnCredential, challenge: Challenge | None
) -> Challenge | Failed | None:
    """The challenge for the next request, why the check fails, or None if an allocation is granted.

    Raises StunError if `packet` is not a TURN message.
    """
    message = parse(packet, kinds=TurnKind)
    wanted = challenge_in(message)
    error = message.error()
    if wanted is not None:
        if challenge is not None and error is not None and error[0] == 401:
            return Failed("TURN error 401: it does not take the deployment's secret")
        return wanted
    if message.kind != TurnKind.ALLOCATED:
        code, phrase = error or (0, "not an Allocate success")
        reason = phrase.rstrip("\0")  # coturn counts its padding
        return Failed(f"TURN error {code} {reason}")
    if challenge is None:
        return Failed("it relays for anybody, without a credential")
    if not message.authentic(integrity_key(credential, challenge)):
        return Failed("answer with a wrong MESSAGE-INTEGRITY")
    if message.get(XOR_RELAYED_ADDRESS) is None:
        return Failed("success without a relayed address")
    return None
