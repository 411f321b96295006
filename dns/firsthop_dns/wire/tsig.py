"""TSIG in queries: no key is configured, so each names a key that is unknown (RFC 8945 §5.2.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

TSIG = 250
BADKEY = 17
"""The error of a TSIG record whose key is unknown."""
_CLASS_ANY = 255
_MAX_LABEL = 63
_LONGEST_NAME = 255
_RECORD = struct.Struct(">HHIH")
_TIMES = struct.Struct(">HIHH")
"""Time signed (upper 16 bits, lower 32), fudge, size of the MAC."""
_END = struct.Struct(">HHH")
"""Original id, error, octets of other data."""


class Tsig(NamedTuple):
    """What the TSIG record of a reply repeats: key and algorithm as uncompressed wire names."""

    key: bytes
    algorithm: bytes
    fudge: int
    identity: int

    def refused(self, now: float) -> bytes:
        """The record of a reply with error BADKEY: without a MAC (RFC 8945 §5.3.2)."""
        moment = int(now) & 0xFFFF_FFFF_FFFF
        data = self.algorithm + _TIMES.pack(moment >> 32, moment & 0xFFFF_FFFF, self.fudge, 0)
        data += _END.pack(self.identity, BADKEY, 0)
        return self.key + _RECORD.pack(TSIG, _CLASS_ANY, 0, len(data)) + data


def read_tsig(packet: bytes, owner_at: int, fields_at: int) -> Tsig | None:
    """The TSIG record of `packet` with these offsets of owner and type; None if it is malformed.

    The record is within the packet (RFC 8945 §4.2).
    """
    _, record_class, ttl, length = _RECORD.unpack_from(packet, fields_at)
    data_at = fields_at + _RECORD.size
    key = _name(packet, owner_at)
    algorithm = _name(packet[: data_at + length], data_at, compressed=False)
    if record_class != _CLASS_ANY or ttl or key is None or algorithm is None:
        return None
    data = packet[data_at + len(algorithm) : data_at + length]
    if len(data) < _TIMES.size + _END.size:
        return None
    _, _, fudge, mac = _TIMES.unpack_from(data)
    if len(data) < _TIMES.size + mac + _END.size:
        return None
    identity, _, other = _END.unpack_from(data, _TIMES.size + mac)
    if len(data) != _TIMES.size + mac + _END.size + other:
        return None
    return Tsig(key, algorithm, fudge, identity)


def _name(packet: bytes, offset: int, *, compressed: bool = True) -> bytes | None:
    """The name at an offset, uncompressed; pointers lead backwards, so the work is bounded."""
    found, start = bytearray(), offset
    while offset < len(packet) and len(found) < _LONGEST_NAME:
        length = packet[offset]
        if compressed and length >= 0xC0 and offset + 1 < len(packet):
            target = (length & 0x3F) << 8 | packet[offset + 1]
            if not 12 <= target < start:
                return None
            start = offset = target
        elif length > _MAX_LABEL or offset + length + 1 > len(packet):
            return None
        else:
            found += packet[offset : offset + length + 1]
            offset += length + 1
            if not length:
                return bytes(found)
    return None
