"""How the section `dns` of a table file is laid out; `zone` writes it, `mapped` reads it.

    magic | length of the static part | static part | answers

    static part   counts | places of zones | places of services' names
                  | hashes of all names, sorted | places of all names | heap
    answers       counts | first answer of each service | ends of the RRsets | RRsets

All numbers are little-endian, all places offsets from the start of their part. Names are hashed by
CRC-32 of their lower-case wire form. So a worker finds a name in a zone of any size without loading
it, and a native reader may do the same.
"""

from __future__ import annotations

import struct

FORMAT = 1
SECTION = "dns"
MAGIC = b"FHDNS\0\0" + bytes([FORMAT])
HEAD = struct.Struct("<8sI")
STATIC_AT = 64

STATIC = struct.Struct("<IIII")
"""Zones, services, names, labels of the deepest name."""
ZONE = struct.Struct("<BBI")
"""Octets of the apex, pieces of the negative SOA, TTL of negative answers; then apex and pieces.

The pieces, each behind a pointer to the apex within the question, are the SOA record that negative
answers carry; its TTL stands at `NEGATIVE_TTL` of the first.
"""
PIECE = struct.Struct("<H")
NEGATIVE_TTL = slice(4, 8)
NODE = struct.Struct("<HHBBH")
"""Zone, service + 1 or 0, flags, octets of the name, types; then the name and the types."""
WHOAMI = 1
TYPE = struct.Struct("<HI")
"""Type and the place of its body; `OTHER_TYPES` names the body for all that are not listed."""
OTHER_TYPES = 0
BODY = struct.Struct("<BxHHI")
"""Rcode, answers, authorities, octets; then the octets."""

ANSWERS = struct.Struct("<II")
"""Services, answers; each answer has two RRsets, A and AAAA."""
