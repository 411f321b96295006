"""EDNS(0): the OPT record and the client subnet option, read strictly and written (RFC 6891, 7871).

Knows neither zones nor messages: it is given the fields of one OPT record.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16
RCODE_NAMES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    BADVERS: "BADVERS",
}

OPT = 41
PAYLOAD = 1232
"""The UDP payload we offer and never exceed: fits every path unfragmented (RFC 9715 §3.2)."""
PLAIN_PAYLOAD = 512
"""The most a client without EDNS takes over UDP (RFC 1035 §4.2.1)."""
DO = 0x8000
MOST_OPTIONS = 64
"""Far more than are defined; thousands of empty ones would cost more than a hundred queries."""
_SUBNET = 8
_ADDRESS_BITS = {0: 0, 1: 32, 2: 128}
_PAIR = struct.Struct(">HH")
_SUBNET_HEAD = struct.Struct(">HBB")
_REPLY = struct.Struct(">BHHBBHH")
_REPLY_SUBNET = struct.Struct(">HHHBB")


class Subnet(NamedTuple):
    """A client subnet option: `family` 1 or 2 (0 only with nothing in it), `source` in bits."""

    family: int
    source: int
    address: bytes
    """As few octets as hold `source` bits."""


class Edns(NamedTuple):
    """What one OPT record says; `fault` is the rcode that its content alone calls for."""

    payload: int
    dnssec_ok: bool
    subnet: Subnet | None
    fault: int


def read_opt(payload: int, ttl: int, options: bytes) -> Edns:
    """An OPT record from its CLASS, TTL and RDATA; never raises."""
    dnssec_ok = bool(ttl & DO)  # other flags mean nothing to us (RFC 6891 §6.1.4)
    if ttl >> 16 & 0xFF:  # the version comes before any look at the options (RFC 6891 §6.1.3)
        return Edns(payload, dnssec_ok, None, BADVERS)
    if not options:
        return Edns(payload, dnssec_ok, None, NOERROR)
    subnet = None
    position, end, left = 0, len(options), MOST_OPTIONS
    while position < end:
        left -= 1
        if position + 4 > end or left < 0:
            return Edns(payload, dnssec_ok, None, FORMERR)
        code, length = _PAIR.unpack_from(options, position)
        position += 4 + length
        if position > end:  # options fill RDLEN exactly
            return Edns(payload, dnssec_ok, None, FORMERR)
        if code == _SUBNET:  # all others are ignored (RFC 6891 §6.1.2)
            found = _read_subnet(options[position - length : position])
            if found is None or subnet is not None:
                return Edns(payload, dnssec_ok, None, FORMERR)
            subnet = found
    return Edns(payload, dnssec_ok, subnet, NOERROR)


def _read_subnet(data: bytes) -> Subnet | None:
    """The option's content, or None when it breaks a rule of RFC 7871 §6 or §7.2.1."""
    if len(data) < 4:
        return None
    family, source, scope = _SUBNET_HEAD.unpack_from(data)
    # Family 0 with nothing in it is how dig writes +subnet=0; any other family is unknown.
    most = _ADDRESS_BITS.get(family, -1)
    if source > most or scope:
        return None
    address = data[4:]
    if len(address) != (source + 7) // 8:
        return None
    if source % 8 and address[-1] << source % 8 & 0xFF:  # bits beyond SOURCE must be zero
        return None
    return Subnet(family, source, address)


def write_opt(dnssec_ok: bool, rcode: int, subnet: Subnet | None, scope: int) -> bytes:
    """The OPT record of a reply: ours alone, version 0, DO copied (RFC 3225 §3), ECS echoed.

    FAMILY, SOURCE and ADDRESS go back as they came (RFC 7871 §7.2.1).
    """
    flags = DO if dnssec_ok else 0
    if subnet is None:
        return _REPLY.pack(0, OPT, PAYLOAD, rcode >> 4, 0, flags, 0)
    family, source, address = subnet
    return b"".join(
        (
            _REPLY.pack(0, OPT, PAYLOAD, rcode >> 4, 0, flags, 8 + len(address)),
            _REPLY_SUBNET.pack(_SUBNET, 4 + len(address), family, source, scope),
            address,
        )
    )
