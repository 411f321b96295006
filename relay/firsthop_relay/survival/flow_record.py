"""What is written down of a confirmed flow: one fixed record, checked, for one boot of a machine.

Times are seconds of CLOCK_BOOTTIME, so no step of the wall clock makes a flow older or younger.
"""

from __future__ import annotations

import socket
import struct
import zlib
from dataclasses import dataclass

from firsthop_ice.ufrag import UFRAG_LENGTH
from firsthop_relay.flows.flow import ClientSockaddr
from firsthop_relay.flows.routes import SocketAddress

SLOT = 128
_VERSION = 1
# version, which of the addresses are IPv6; client, its scope; listener; upstream; our port to it
_BODY = struct.Struct(">BB 16sHI 16sH 16sHH 31s dd")
_CHECK = struct.Struct(">I")
_FAMILIES = {False: (socket.AF_INET, 4), True: (socket.AF_INET6, 16)}


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A confirmed flow that was its source's current one."""

    listener: SocketAddress
    """The address that the client sends to."""
    source: ClientSockaddr
    ufrag: bytes
    upstream: SocketAddress
    port: int
    """Of our socket, as the upstream sees it."""
    opened_at: float
    seen_at: float
    """When the client was last known to be active."""

    def alive(self, now: float, *, idle_s: float, lifetime_s: float) -> bool:
        """Whether the flow would still be there; a time to come is no time at all."""
        return 0 <= now - self.seen_at < idle_s and 0 <= now - self.opened_at < lifetime_s


def encode(record: FlowRecord) -> bytes:
    """SLOT bytes, the first four a CRC-32 of the others."""
    hosts = record.source[0].partition("%")[0], record.listener[0], record.upstream[0]
    six = [":" in host for host in hosts]
    client, listener, upstream = (
        socket.inet_pton(_FAMILIES[each][0], host) for each, host in zip(six, hosts, strict=True)
    )
    scope = record.source[3] if six[0] else 0
    body = _BODY.pack(
        _VERSION, six[0] | six[1] << 1 | six[2] << 2,
        client, record.source[1], scope, listener, record.listener[1],
        upstream, record.upstream[1], record.port,
        record.ufrag, record.opened_at, record.seen_at,
    ).ljust(SLOT - _CHECK.size, b"\0")  # fmt: skip
    return _CHECK.pack(zlib.crc32(body)) + body


def decode(slot: bytes) -> FlowRecord | None:
    """The record in a slot; None for an empty one, a torn one, or one of another version."""
    body = slot[_CHECK.size :]
    if len(slot) != SLOT or _CHECK.unpack_from(slot)[0] != zlib.crc32(body) or body[0] != _VERSION:
        return None
    fields = _BODY.unpack_from(body)
    six = [bool(fields[1] >> bit & 1) for bit in range(3)]
    client, listener, upstream = (
        socket.inet_ntop(_FAMILIES[each][0], packed[: _FAMILIES[each][1]])
        for each, packed in zip(six, (fields[2], fields[5], fields[7]), strict=True)
    )
    if six[0] and fields[4]:
        client += f"%{_interface(fields[4])}"
    source: ClientSockaddr = (client, fields[3], 0, fields[4]) if six[0] else (client, fields[3])
    ufrag: bytes = fields[10]
    return FlowRecord(
        (listener, fields[6]), source, ufrag[:UFRAG_LENGTH], (upstream, fields[8]),
        fields[9], fields[11], fields[12],
    )  # fmt: skip


def _interface(scope: int) -> str:
    """As the kernel names it beside a link-local address."""
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)
