r"""Parses record data from presentation form (RFC 1035 §5.1, RFC 3597 §5) into wire form.

So a bad record is refused when it is entered, not when it is queried. This module parses the most
common types itself, since a zone may contain 100,000 records; dnspython parses the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from firsthop_zones import names, presentation
from firsthop_zones.record_types import (
    AAAA,
    CNAME,
    DNAME,
    MX,
    NS,
    PTR,
    TXT,
    A,
    type_code,
    type_name,
)

__all__ = [
    "CompressibleName",
    "Rdata",
    "character_strings",
    "domain_name",
    "parse_rdata",
    "type_code",
    "type_name",
]

LARGEST = 65535
"""Octets of the longest RDATA: RDLENGTH has 16 bits (RFC 1035 §3.2.1)."""

_TOKEN = re.compile(rb'\s*(?:"((?:[^"\\]|\\.)*)"|((?:[^\s"\\;]|\\.)+))(?=\s|\Z)', re.DOTALL)
_BLANK = re.compile(rb"\s*\Z")
_ESCAPE = re.compile(rb"\\(\d{3}|\D|)", re.DOTALL)
_MX = re.compile(r"([0-9]{1,5})\s+(\S.*)", re.DOTALL)


class CompressibleName(bytes):
    """A lower-case wire name that a message may compress.

    Only RDATA of the types in RFC 1035 may be compressed (RFC 3597 §4).
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Rdata:
    """A record's data; the RDATA is the concatenation of the parts."""

    type: int
    parts: tuple[bytes, ...]
    """NS, CNAME, PTR: one `CompressibleName`; MX: two octets and one; all others: one part."""

    @property
    def wire(self) -> bytes:
        """RDATA without compression."""
        return b"".join(self.parts)


def domain_name(text: str) -> str:
    """The canonical text of a name: `Edge.Example` → `edge.example.`; the root is `.`.

    Raises ValueError like `names.to_wire`.
    """
    return names.canonical(text)


def character_strings(text: str) -> tuple[bytes, ...]:
    r"""The strings of a TXT record, quoted or unquoted, with `\"` and `\DDD` escapes resolved.

    Raises ValueError if a quote is not closed, an escape is bad, or a string exceeds 255 octets.
    """
    raw = text.encode()
    strings = []
    position = 0
    while not _BLANK.match(raw, position):
        match = _TOKEN.match(raw, position)
        if match is None:
            raise ValueError("must be character strings: quote those that contain spaces or ;")
        quoted, bare = match.groups()
        strings.append(_unescaped(bare if quoted is None else quoted))
        position = match.end()
    if not strings:
        raise ValueError("must contain at least one character string")
    if any(len(string) > 255 for string in strings):
        raise ValueError("a character string has at most 255 octets (RFC 1035 §3.3)")
    return tuple(strings)


def _unescaped(string: bytes) -> bytes:
    return _ESCAPE.sub(_unescape, string) if b"\\" in string else string


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    if not code:
        raise ValueError(r"an escape is \DDD or \X, where X is not a digit (RFC 1035 §5.1)")
    if not code.isdigit():
        return code
    if int(code) > 255:
        raise ValueError(r"an escape \DDD is at most \255 (RFC 1035 §5.1)")
    return bytes([int(code)])


def _ipv4(text: str) -> tuple[bytes]:
    return (IPv4Address(text.strip()).packed,)


def _ipv6(text: str) -> tuple[bytes]:
    address = IPv6Address(text.strip())
    if address.scope_id:
        raise ValueError("an address in the DNS has no scope id")
    return (address.packed,)


def _compressible(text: str) -> tuple[bytes]:
    return (CompressibleName(names.to_wire(text.strip())),)


def _dname(text: str) -> tuple[bytes]:
    return (names.to_wire(text.strip()),)  # its target is not compressed (RFC 6672 §2.5)


def _mx(text: str) -> tuple[bytes, bytes]:
    match = _MX.fullmatch(text.strip())
    if match is None or int(match[1]) > 65535:
        raise ValueError("must be a preference (0 to 65535) and a host name")
    return int(match[1]).to_bytes(2, "big"), CompressibleName(names.to_wire(match[2]))


def _txt(text: str) -> tuple[bytes]:
    return (b"".join(bytes([len(each)]) + each for each in character_strings(text)),)


_BY_HAND: dict[int, Callable[[str], tuple[bytes, ...]]] = {
    A: _ipv4,
    NS: _compressible,
    CNAME: _compressible,
    PTR: _compressible,
    MX: _mx,
    TXT: _txt,
    AAAA: _ipv6,
    DNAME: _dname,
}


def parse_rdata(type_name: str, text: str) -> Rdata:
    r"""Parses the data of a record of `type_name`, in the type's own form or as `\# length hex`.

    Names are absolute, with or without their last dot, and become lower case. Raises ValueError
    with the type and the broken rule.
    """
    code = type_code(type_name)
    try:
        by_hand = _BY_HAND.get(code)
        if by_hand is None or text.lstrip().startswith("\\#"):
            parts = _split(code, presentation.read(code, text))
        else:
            parts = by_hand(text)
        if sum(map(len, parts)) > LARGEST:
            raise ValueError("has at most 65535 octets (RFC 1035 §3.2.1)")
    except ValueError as error:
        raise ValueError(f"rdata of {type_name}: {error}") from None
    return Rdata(code, parts)


def _split(code: int, wire: bytes) -> tuple[bytes, ...]:
    """Splits RDATA into the parts of `Rdata`."""
    if code == MX:
        return wire[:2], CompressibleName(wire[2:])
    return (CompressibleName(wire) if code in (NS, CNAME, PTR) else wire,)
