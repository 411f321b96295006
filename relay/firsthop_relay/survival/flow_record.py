"""The record of a confirmed flow, as the journal, the take-over and Redis store it.

128 bytes with a checksum. Times are seconds of a clock that writer and reader share: since the boot
if both are on one machine, so no step of the wall clock ages a flow; else since 1970.
"""

from __future__ import annotations

import socket
import struct
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from firsthop_ice.ufrag import UFRAG_LENGTH
from firsthop_relay.flows.flow import ClientSockaddr
from firsthop_relay.flows.routes import SocketAddress

RECORD_SIZE = 128
_VERSION = 1
# version, flags; client, its scope; listener; upstream; our port to it; ufrag; opened, seen
_BODY = struct.Struct(">BB 16sHI 16sH 16sHH 31s dd")
_CHECK = struct.Struct(">I")
_FAMILIES = {False: (socket.AF_INET, 4), True: (socket.AF_INET6, 16)}
# Flags: bits 0 to 2, whether client, listener and upstream are IPv6.
_BY_TCP = 1 << 3


class ListenerAddress(NamedTuple):
    """The address that a client sends to."""

    transport: Literal["udp", "tcp"]
    host: str
    port: int

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """The address of a bound socket."""
        transport: Literal["udp", "tcp"] = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        return cls(transport, *sock.getsockname()[:2])


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A confirmed flow that was its source's current one."""

    listener: ListenerAddress
    source: ClientSockaddr
    ufrag: bytes
    upstream: SocketAddress
    port: int
    """The local port of the upstream socket."""
    opened_at: float
    seen_at: float
    """When the client was last known to be active."""

    def alive(self, now: float, *, idle_s: float, lifetime_s: float) -> bool:
        """Whether the flow would still exist; False if a time lies in the future."""
        return 0 <= now - self.seen_at < idle_s and 0 <= now - self.opened_at < lifetime_s


def encode(record: FlowRecord) -> bytes:
    """RECORD_SIZE bytes, the first four a CRC-32 of the others."""
    hosts = record.source[0].partition("%")[0], record.listener.host, record.upstream[0]
    six = [":" in host for host in hosts]
    client, listener, upstream = (
        socket.inet_pton(_FAMILIES[each][0], host) for each, host in zip(six, hosts, strict=True)
    )
    scope = record.source[3] if six[0] else 0
    by_tcp = _BY_TCP if record.listener.transport == "tcp" else 0
    body = _BODY.pack(
        _VERSION, six[0] | six[1] << 1 | six[2] << 2 | by_tcp,
        client, record.source[1], scope, listener, record.listener.port,
        upstream, record.upstream[1], record.port,
        record.ufrag, record.opened_at, record.seen_at,
    ).ljust(RECORD_SIZE - _CHECK.size, b"\0")  # fmt: skip
    return _CHECK.pack(zlib.crc32(body)) + body


def decode(data: bytes) -> FlowRecord | None:
    """The record in `data`; None if it is empty, torn, of another version, or not a record.

    A listener has clients of its own address family only.
    """
    body = data[_CHECK.size :]
    if len(data) != RECORD_SIZE or _CHECK.unpack_from(data)[0] != zlib.crc32(body):
        return None
    fields = _BODY.unpack_from(body)
    if fields[0] != _VERSION:
        return None
    flags = fields[1]
    six = [bool(flags >> bit & 1) for bit in range(3)]
    if six[0] != six[1]:
        return None
    client, listener, upstream = (
        socket.inet_ntop(_FAMILIES[each][0], packed[: _FAMILIES[each][1]])
        for each, packed in zip(six, (fields[2], fields[5], fields[7]), strict=True)
    )
    if six[0] and fields[4]:
        client += f"%{_interface(fields[4])}"
    source: ClientSockaddr = (client, fields[3], 0, fields[4]) if six[0] else (client, fields[3])
    ufrag: bytes = fields[10]
    return FlowRecord(
        ListenerAddress("tcp" if flags & _BY_TCP else "udp", listener, fields[6]),
        source, ufrag[:UFRAG_LENGTH], (upstream, fields[8]), fields[9], fields[11], fields[12],
    )  # fmt: skip


def _interface(scope: int) -> str:
    """The interface name that the kernel appends to a link-local address."""
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)
