"""EDNS(0): the OPT record and its options, read strictly and written (RFC 6891).

Knows neither zones nor messages: it is given the fields of one OPT record. What a cookie proves
is for `cookies`, whose position a subnet is for `clients`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN = range(7)
BADVERS = 16
BADCOOKIE = 23
RCODE_NAMES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    YXDOMAIN: "YXDOMAIN",
    BADVERS: "BADVERS",
    BADCOOKIE: "BADCOOKIE",
}

OPT = 41
PAYLOAD = 1232
"""The UDP payload we offer and never exceed: fits every path unfragmented (RFC 9715 §3.2)."""
PLAIN_PAYLOAD = 512
"""The most a client without EDNS takes over UDP (RFC 1035 §4.2.1)."""
MAX_GAIN = 3
"""A stranger, who may have forged the address that we answer, gets over UDP at most so many times
the octets that came: what QUIC sends to an address not yet validated (RFC 9000 §8.1)."""
DO = 0x8000
MAX_OPTIONS = 64
"""Far more than are defined; thousands of empty ones would cost more than a hundred queries."""
_NSID, _SUBNET, _COOKIE, _KEEPALIVE, _EXTENDED_ERROR = 3, 8, 10, 11, 15
_COOKIE_LENGTHS = frozenset((8, *range(16, 41)))
"""The client's part alone, or with a server's part of 8 to 32 octets (RFC 7873 §5.2.2)."""
_ADDRESS_BITS = {0: 0, 1: 32, 2: 128}
_LONGEST_IDLE = 0xFFFF
_PAIR = struct.Struct(">HH")
_TRIPLE = struct.Struct(">HHH")
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
    cookie: bytes | None = None
    """The first cookie option whole: 8 octets of the client's, then none or 8 to 32 of a server's.

    Read beside a fault in another option too: whoever sends a cookie may discard every reply
    without one (RFC 7873 §5.3).
    """
    nsid: bool = False
    """Asked for; what the option holds is ignored (RFC 5001 §2.2)."""
    keepalive: bool = False
    """Asked for; over UDP this must be ignored (RFC 7828 §3.3.1)."""


def read_opt(payload: int, ttl: int, options: bytes) -> Edns:
    """An OPT record from its CLASS, TTL and RDATA; never raises."""
    dnssec_ok = bool(ttl & DO)  # other flags mean nothing to us (RFC 6891 §6.1.4)
    if ttl >> 16 & 0xFF:  # the version comes before any look at the options (RFC 6891 §6.1.3)
        return Edns(payload, dnssec_ok, None, BADVERS)
    if not options:
        return Edns(payload, dnssec_ok, None, NOERROR)
    end = len(options)
    if end >= 4 and _PAIR.unpack_from(options) == (_SUBNET, end - 4):  # what most resolvers send
        alone = _read_subnet(options[4:])
        return Edns(payload, dnssec_ok, alone, FORMERR if alone is None else NOERROR)
    return _read_options(payload, dnssec_ok, options)


def _read_options(payload: int, dnssec_ok: bool, options: bytes) -> Edns:
    """Any number of options; a fault in one leaves the others read, but for a client subnet."""
    fault, subnet, cookie, nsid, keepalive = NOERROR, None, None, False, False
    position, end, left = 0, len(options), MAX_OPTIONS
    while position < end:
        left -= 1
        if position + 4 > end or left < 0:
            fault = FORMERR
            break
        code, length = _PAIR.unpack_from(options, position)
        position += 4 + length
        if position > end:  # options fill RDLEN exactly
            fault = FORMERR
            break
        if code == _SUBNET:
            found = _read_subnet(options[position - length : position])
            if found is None or subnet is not None:
                fault = FORMERR
            subnet = found
        elif code == _COOKIE and cookie is None:  # the first alone counts (RFC 7873 §5.2)
            if length in _COOKIE_LENGTHS:
                cookie = options[position - length : position]
            else:
                fault, cookie = FORMERR, b""
        elif code == _NSID:
            nsid = True
        elif code == _KEEPALIVE:
            # It should be empty (RFC 7828 §3.2.1). That binds clients; servers are told no error.
            keepalive = True
        # All others are ignored (RFC 6891 §6.1.2).
    if fault:
        subnet = None
    return Edns(payload, dnssec_ok, subnet, fault, cookie or None, nsid, keepalive)


def _read_subnet(data: bytes) -> Subnet | None:
    """The option's content, or None when it breaks a rule of RFC 7871 §6 or §7.2.1."""
    if len(data) < 4:
        return None
    family, source, scope = _SUBNET_HEAD.unpack_from(data)
    # Family 0 with nothing in it is how dig writes +subnet=0; any other family is unknown.
    max_bits = _ADDRESS_BITS.get(family, -1)
    if source > max_bits or scope:
        return None
    address = data[4:]
    if len(address) != (source + 7) // 8:
        return None
    if source % 8 and address[-1] << source % 8 & 0xFF:  # bits beyond SOURCE must be zero
        return None
    return Subnet(family, source, address)


def write_opt(dnssec_ok: bool, rcode: int, options: bytes) -> bytes:
    """The OPT record of a reply with the upper bits of `rcode`: version 0, DO copied (RFC 3225 §3).

    `options` are those below, joined; at most 65,535 octets.
    """
    flags = DO if dnssec_ok else 0
    return _REPLY.pack(0, OPT, PAYLOAD, rcode >> 4, 0, flags, len(options)) + options


def subnet_option(subnet: Subnet, scope: int) -> bytes:
    """FAMILY, SOURCE and ADDRESS as they came, and our SCOPE in bits (RFC 7871 §7.2.1)."""
    family, source, address = subnet
    return _REPLY_SUBNET.pack(_SUBNET, 4 + len(address), family, source, scope) + address


def cookie_option(cookie: bytes) -> bytes:
    """A cookie with both its parts, as `cookies.Cookies.check` gives it (RFC 7873 §4)."""
    return _PAIR.pack(_COOKIE, len(cookie)) + cookie


def nsid_option(nsid: bytes) -> bytes:
    """The name of this server, any octets; only for those who asked (RFC 5001 §2.2)."""
    return _PAIR.pack(_NSID, len(nsid)) + nsid


def keepalive_option(idle_s: float) -> bytes:
    """How long a TCP connection may idle, to 100 ms, at most 6,553.5 s (RFC 7828 §3.1).

    0 asks the client to close at once (RFC 7828 §3.4).
    """
    tenths = round(max(0.0, min(idle_s * 10, _LONGEST_IDLE)))
    return _TRIPLE.pack(_KEEPALIVE, 2, tenths)


def extended_error(code: int, text: str = "") -> bytes:
    """An INFO-CODE of `extended_errors`, and a text for people (RFC 8914 §2)."""
    octets = text.encode()
    return _TRIPLE.pack(_EXTENDED_ERROR, 2 + len(octets), code) + octets
