"""Record data in presentation form (RFC 1035 §5.1) read into values.

So a bad record is refused when it is entered and not when it is asked for. Knows the static types;
wire form is the business of `firsthop_dns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class MailExchange:
    """MX (RFC 1035 §3.3.9)."""

    preference: int
    exchange: str


@dataclass(frozen=True, slots=True)
class CertificationAuthority:
    """CAA (RFC 8659 §4.1)."""

    flags: int
    tag: str
    value: bytes


Rdata = IPv4Address | IPv6Address | str | tuple[bytes, ...] | MailExchange | CertificationAuthority

_TOKEN = re.compile(rb'\s*(?:"((?:[^"\\]|\\.)*)"|((?:[^\s"\\;]|\\.)+))(?=\s|$)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(\d{3}|\D)", re.DOTALL)
_LABEL = re.compile(r"[!-\-/-\[\]-~]{1,63}")


def domain_name(text: str) -> str:
    """The lower-cased absolute form: `Edge.Example` → `edge.example.`; `.` is the root.

    Raises ValueError for labels that are empty, over 63 characters or not printable ASCII, and for
    names over 253 characters (RFC 1035 §2.3.4). Escapes are not taken: such names are never hosts.
    """
    if text == ".":
        return text
    name = text.lower().removesuffix(".")
    if not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("must be a domain name: labels of 1 to 63 printable characters")
    if len(name) > 253:
        raise ValueError("must be a domain name of at most 253 characters (RFC 1035 §2.3.4)")
    return name + "."


def character_strings(text: str) -> tuple[bytes, ...]:
    r"""The strings of a TXT record, quoted or bare, with `\"` and `\DDD` escapes resolved.

    Raises ValueError for an open quote, an escape above `\255`, and strings over 255 octets.
    """
    raw = text.encode()
    strings = []
    position = 0
    while raw[position:].strip():
        match = _TOKEN.match(raw, position)
        if match is None:
            raise ValueError("must be character strings: quote those that hold spaces or ;")
        quoted, bare = match.groups()
        strings.append(_ESCAPE.sub(_unescape, bare if quoted is None else quoted))
        position = match.end()
    if not strings:
        raise ValueError("must hold at least one character string")
    if any(len(string) > 255 for string in strings):
        raise ValueError("a character string holds at most 255 octets (RFC 1035 §3.3)")
    return tuple(strings)


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    if not code.isdigit():
        return code
    if int(code) > 255:
        raise ValueError(r"an escape \DDD is at most \255 (RFC 1035 §5.1)")
    return bytes([int(code)])


def _mail_exchange(text: str) -> MailExchange:
    preference, _, exchange = text.partition(" ")
    if not preference.isdecimal() or not exchange.strip() or int(preference) > 65535:
        raise ValueError("must be a preference (0 to 65535) and a host name")
    return MailExchange(int(preference), domain_name(exchange.strip()))


def _certification_authority(text: str) -> CertificationAuthority:
    flags, tag, *value = text.split(None, 2)
    strings = character_strings(value[0]) if value else ()
    if not flags.isdecimal() or int(flags) > 255:
        raise ValueError("flags must be 0 to 255")
    if not re.fullmatch(r"[a-zA-Z0-9]{1,15}", tag) or len(strings) != 1:
        raise ValueError('must be flags, a tag and one value, like: 0 issue "ca.example"')
    return CertificationAuthority(int(flags), tag.lower(), strings[0])


_PARSERS: dict[str, Callable[[str], Rdata]] = {
    "A": IPv4Address,
    "AAAA": IPv6Address,
    "CNAME": domain_name,
    "MX": _mail_exchange,
    "TXT": character_strings,
    "CAA": _certification_authority,
}


def parse_rdata(type_name: str, text: str) -> Rdata:
    """The value of a record of `type_name` (A, AAAA, CNAME, MX, TXT, CAA).

    Raises ValueError that names the rule the text breaks.
    """
    try:
        value = _PARSERS[type_name](text.strip())
    except ValueError as error:
        raise ValueError(f"rdata of {type_name}: {error}") from None
    if isinstance(value, IPv6Address) and value.scope_id:
        raise ValueError("rdata of AAAA: an address in the DNS has no scope id")
    return value
