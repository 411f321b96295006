"""Layout of the section `dns` of a table file; `compile.zone` writes it, `mapped` reads it.

    magic | length of the static part | static part | answers

    static part   counts | offsets of zones | offsets of services' names
                  | hashes of all names, sorted | offsets of all names | heap
    answers       counts | first answer of each service | ends of the RRsets
                  | records in each RRset | RRsets

All numbers are little-endian, all offsets count from the start of their part. The hash of a name is
the CRC-32 of its lower-case wire form. So a worker finds a name in a zone of any size without
loading the zone, and a native reader may do the same.
"""

from __future__ import annotations

import struct

from firsthop_dns.wire.query import AAAA, HTTPS, SVCB, A

FORMAT = 2
SECTION = "dns"
MAGIC = b"FHDNS\0\0" + bytes([FORMAT])
HEAD = struct.Struct("<8sI")
STATIC_AT = 64

STATIC = struct.Struct("<IIII")
"""Numbers of zones, services and names; labels of the deepest name."""
ZONE = struct.Struct("<BI")
"""Octets of the apex, TTL of negative answers; then the apex, and a `TYPE` of the negative body."""
NODE = struct.Struct("<HHBBH")
"""Zone, service + 1 (0 if none), flags, octets of the name, number of types; then the name and the
types."""
WHOAMI, CUT, RENAMES, WILDCARD = 1, 2, 4, 8
"""Flags of a node: is a whoami name, is a delegation, has a DNAME, has a wildcard below."""
TYPE = struct.Struct("<HI")
"""A type, or one of the two below, and the offset of its body."""
OTHER_TYPES = 0
"""The body for all types that are not listed."""
REFERRAL = 65535
"""The body for all types but DS at a delegation, and for all below it."""
BODY = struct.Struct("<BBHHHHHII")
"""Rcode, 1 if authoritative, numbers of records in the four sections of `rrset`, of pointers and of
octets, offset of the spare records; then the offsets of the pointers, and the octets."""
POINTER = struct.Struct("<H")

ANSWERS = struct.Struct("<II")
"""Numbers of services and answers; each answer has an RRset per type, in the order of STEERED."""
LONGEST_CHAIN = 8
"""Alias links in one answer at most; a resolver continues with the last."""
STEERED = (A, AAAA, HTTPS, SVCB)
"""Types that a service answers. Signatures would be further RRsets after these, one per type."""
