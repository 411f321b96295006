"""Packets in a TCP stream: two bytes of length before each (RFC 4571 §2, RFC 6544 §10.1)."""

from __future__ import annotations

LONGEST_FIRST = 2048
"""Bytes at most of the first packet, which must be a check; a longer one is not ICE."""


class FramingError(ValueError):
    """A stream that does not begin with an ICE check."""


def frame(packet: bytes) -> bytes:
    """`packet` (at most 65,535 bytes) with its length before it."""
    return len(packet).to_bytes(2, "big") + packet


class Unframer:
    """Cuts a stream into packets; holds less than one packet between calls."""

    def __init__(self, held: bytes = b"", *, trusted: bool = False) -> None:
        self.held = held
        """The received part of an incomplete packet."""
        self.trusted = trusted
        """Whether packets may be longer than a check, and `feed` may return several."""

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Raises FramingError."""
        data = self.held + data
        packets, at = [], 0
        while len(data) >= at + 2:
            size = int.from_bytes(data[at : at + 2], "big")
            if not self.trusted and (size > LONGEST_FIRST or not size):
                raise FramingError("the first packet is not a check")
            if len(data) < at + 2 + size:
                break
            packets.append(data[at + 2 : at + 2 + size])
            at += 2 + size
            if not self.trusted:
                break  # the caller judges the first packet before it reads the next
        self.held = data[at:]
        return packets
