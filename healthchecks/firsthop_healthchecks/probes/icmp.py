"""ICMP echo, if the system lets every user send it (ping sockets of Linux and macOS).

It shows that the host is up, not the relay on it: the weakest of all kinds.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import partial

from firsthop_healthchecks.probes import ProbeOutcome, Unable
from firsthop_healthchecks.probes.datagram import exchange
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget

PING_SOCKETS = "no ping sockets here (see net.ipv4.ping_group_range)"
# Request and reply, of ICMP (RFC 792) and of ICMPv6 (RFC 4443 §4.1, §4.2)
TYPES = {4: (8, 0), 6: (128, 129)}
PROTOCOLS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
_HEADER = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence number


class IcmpProbe:
    """Sends one echo request; the kernel sets checksum and identifier, and filters the replies.

    Only the matching reply contains the request's 16 random octets.
    """

    def __init__(self, source: SourceAddresses = ANY) -> None:
        self._source = source

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if the echo reply comes; Unable if the system permits no ping sockets."""
        version = target.address.version
        try:
            self._source.new_socket(version, socket.SOCK_DGRAM, PROTOCOLS[version]).close()
        except OSError as error:
            return Unable(_message(error))
        request, reply = TYPES[version]
        nonce = os.urandom(16)
        packet = _HEADER.pack(request, 0, 0, 0, 1) + nonce
        return await exchange(
            target,
            self._source,
            packet=packet,
            judge=partial(judge, reply, nonce),
            protocol=PROTOCOLS[version],
        )

    async def close(self) -> None:
        """Nothing is shared."""


def _message(error: OSError) -> str:
    refused = error.errno in _REFUSALS
    return PING_SOCKETS if refused else os.strerror(error.errno or errno.EIO)


def judge(reply: int, nonce: bytes, packet: bytes) -> str | None:
    """Judge whether `packet` is the echo reply with our octets (see `datagram.Judge`)."""
    if len(packet) < _HEADER.size or packet[0] != reply:
        return "answer is not an echo reply"
    return None if packet[_HEADER.size :] == nonce else "echo of something else"
