"""Messages on TCP connections, as a client sends and reads them (RFC 1035 §4.2.2)."""

from __future__ import annotations

import contextlib
import socket

import dns.message


def framed(packet: bytes) -> bytes:
    """With its length before it."""
    return len(packet).to_bytes(2, "big") + packet


def queries(count: int, name: str = "geo.example.test") -> list[bytes]:
    """Numbered queries."""
    made = []
    for number in range(count):
        asked = dns.message.make_query(name, "A", use_edns=0)
        asked.id = number
        made.append(asked.to_wire())
    return made


def messages(stream: socket.socket, count: int) -> list[bytes]:
    """That many framed messages, or fewer if the other side closes."""
    data, found = b"", []
    while len(found) < count:
        while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
            found.append(data[2:end])
            data = data[end:]
        if len(found) < count:
            more = stream.recv(65536)
            if not more:
                break
            data += more
    return found


def ended(stream: socket.socket) -> bool:
    """Reads to the end: closed or reset."""
    with contextlib.suppress(ConnectionResetError):
        while stream.recv(65536):
            pass
    return True
