"""Layout of the section `dns` of a table file; `compile.zone` writes it, `mapped` reads it.

    magic | length of the static part | static part | answers

    static part   counts | places of zones | places of services' names
                  | hashes of all names, sorted | places of all names | heap
    answers       counts | first answer of each service | ends of the RRsets
                  | records in each RRset | RRsets

All numbers are little-endian, all places offsets from the start of their part. Names are hashed by
CRC-32 of their lower-case wire form. So a worker finds a name in a zone of any size without loading
it, and a native reader may do the same.
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
"""Zones, services, names, labels of the deepest name."""
ZONE = struct.Struct("<BI")
"""Octets of the apex, TTL of negative answers; then the apex, and a `TYPE` whose body denies."""
NODE = struct.Struct("<HHBBH")
"""Zone, service + 1 or 0, flags, octets of the name, types; then the name and the types."""
WHOAMI, CUT, RENAMES, WILDCARD = 1, 2, 4, 8
"""Flags of a node: told by whoami, a delegation, has a DNAME, has a wildcard below."""
TYPE = struct.Struct("<HI")
"""Type and the place of its body, or one of the two below."""
OTHER_TYPES = 0
"""The body for all types that are not listed."""
REFERRAL = 65535
"""The body for all types but DS at a delegation, and for all below it."""
BODY = struct.Struct("<BBHHHHHII")
"""Rcode, 1 if authoritative, records of the four sections of `rrset`, pointers, octets, and where
the spare records begin; then the places of the pointers, and the octets."""
POINTER = struct.Struct("<H")

ANSWERS = struct.Struct("<II")
"""Services, answers; each answer has an RRset of each steered type, in their order."""
LONGEST_CHAIN = 8
"""Links put into one answer; a resolver asks on from the last."""
STEERED = (A, AAAA, HTTPS, SVCB)
"""Types that a service answers with. Signatures would be RRsets behind these, a kind each."""
