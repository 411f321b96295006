"""EDNS(0): the OPT record and its options, read strictly and written (RFC 6891).

Knows neither zones nor messages, only the fields of one OPT record. Cookies are verified by
`cookies`, subnets become keys in `client_keys`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN = range(7)
NOTAUTH = 9
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
    NOTAUTH: "NOTAUTH",
    BADVERS: "BADVERS",
    BADCOOKIE: "BADCOOKIE",
}

OPT = 41
PAYLOAD = 1232
"""The UDP payload we offer and never exceed: fits every path unfragmented (RFC 9715 §3.2).
Operators may lower what is sent (`instance.Instance.max_udp`)."""
PLAIN_PAYLOAD = 512
"""The most a client without EDNS takes over UDP (RFC 1035 §4.2.1)."""
DO = 0x8000
MAX_OPTIONS = 64
"""Options accepted in one OPT record: far more than are defined. Thousands of empty ones would
cost more than a hundred queries."""
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
    """A client subnet option: `family` 1 or 2 (0 only if it is empty), `source` in bits."""

    family: int
    source: int
    address: bytes
    """As many octets as `source` bits need."""


class Edns(NamedTuple):
    """The content of one OPT record; `fault` is the rcode that the content requires."""

    payload: int
    dnssec_ok: bool
    subnet: Subnet | None
    fault: int
    cookie: bytes | None = None
    """Content of the first cookie option: client part (8 octets), server part (none or 8 to 32).

    It is read even if another option is faulty: a client that sends a cookie may discard every
    reply without one (RFC 7873 §5.3).
    """
    nsid: bool = False
    """Whether the option was sent; its content is ignored (RFC 5001 §2.2)."""
    keepalive: bool = False
    """Whether the option was sent; over UDP it must be ignored (RFC 7828 §3.3.1)."""


def read_opt(payload: int, ttl: int, options: bytes) -> Edns:
    """An OPT record from its CLASS, TTL and RDATA; never raises."""
    dnssec_ok = bool(ttl & DO)  # other flags are ignored (RFC 6891 §6.1.4)
    if ttl >> 16 & 0xFF:  # the version is checked before the options (RFC 6891 §6.1.3)
        return Edns(payload, dnssec_ok, None, BADVERS)
    if not options:
        return Edns(payload, dnssec_ok, None, NOERROR)
    end = len(options)
    if end >= 4 and _PAIR.unpack_from(options) == (_SUBNET, end - 4):  # what most resolvers send
        alone = _read_subnet(options[4:])
        return Edns(payload, dnssec_ok, alone, FORMERR if alone is None else NOERROR)
    return _read_options(payload, dnssec_ok, options)


def _read_options(payload: int, dnssec_ok: bool, options: bytes) -> Edns:
    """Any number of options; after a faulty one the others are read, but no subnet is returned."""
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
        elif code == _COOKIE and cookie is None:  # only the first counts (RFC 7873 §5.2)
            if length in _COOKIE_LENGTHS:
                cookie = options[position - length : position]
            else:
                fault, cookie = FORMERR, b""
        elif code == _NSID:
            nsid = True
        elif code == _KEEPALIVE:
            # Clients should send it empty (RFC 7828 §3.2.1); no error is defined for servers.
            keepalive = True
        # All others are ignored (RFC 6891 §6.1.2).
    if fault:
        subnet = None
    return Edns(payload, dnssec_ok, subnet, fault, cookie or None, nsid, keepalive)


def _read_subnet(data: bytes) -> Subnet | None:
    """The option's content, or None if it breaks a rule of RFC 7871 §6 or §7.2.1."""
    if len(data) < 4:
        return None
    family, source, scope = _SUBNET_HEAD.unpack_from(data)
    # dig sends +subnet=0 as family 0 without an address; any other family is unknown.
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

    `options` are results of the functions below, joined; at most 65,535 octets.
    """
    flags = DO if dnssec_ok else 0
    return _REPLY.pack(0, OPT, PAYLOAD, rcode >> 4, 0, flags, len(options)) + options


def subnet_option(subnet: Subnet, scope: int) -> bytes:
    """FAMILY, SOURCE and ADDRESS as received, and our SCOPE in bits (RFC 7871 §7.2.1)."""
    family, source, address = subnet
    return _REPLY_SUBNET.pack(_SUBNET, 4 + len(address), family, source, scope) + address


def cookie_option(cookie: bytes) -> bytes:
    """A cookie with both its parts, as `cookies.Cookies.check` returns it (RFC 7873 §4)."""
    return _PAIR.pack(_COOKIE, len(cookie)) + cookie


def nsid_option(nsid: bytes) -> bytes:
    """The name of this server (any octets); sent only if requested (RFC 5001 §2.2)."""
    return _PAIR.pack(_NSID, len(nsid)) + nsid


def keepalive_option(idle_s: float) -> bytes:
    """How long a TCP connection may be idle, in 100 ms, at most 6,553.5 s (RFC 7828 §3.1).

    0 asks the client to close at once (RFC 7828 §3.4).
    """
    tenths = round(max(0.0, min(idle_s * 10, _LONGEST_IDLE)))
    return _TRIPLE.pack(_KEEPALIVE, 2, tenths)


def extended_error(code: int, text: str = "") -> bytes:
    """An INFO-CODE of `extended_errors`, and a text for people (RFC 8914 §2)."""
    octets = text.encode()
    return _TRIPLE.pack(_EXTENDED_ERROR, 2 + len(octets), code) + octets
