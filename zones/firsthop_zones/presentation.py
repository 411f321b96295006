r"""Parses the presentation form of record types with dnspython, and of unknown types (RFC 3597 §5).

Stricter than dnspython: comments, relative names and more than one line are refused. Exceptions of
dnspython become ValueErrors with the broken rule.
"""

from __future__ import annotations

import re

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer

from firsthop_zones import names
from firsthop_zones.record_types import TYPES

_GENERIC = re.compile(r"\\#\s+([0-9]{1,5})((?:\s+[0-9A-Fa-f]+)*)")
_FORMS = {
    "CAA": 'flags tag "value"',
    "CERT": "type key-tag algorithm base64",
    "DS": "key-tag algorithm digest-type hex",
    "HINFO": '"cpu" "system"',
    "HTTPS": "priority target key=value …",
    "LOC": "latitude longitude altitude …",
    "NAPTR": 'order preference "flags" "services" "regexp" replacement',
    "OPENPGPKEY": "base64",
    "RP": "mailbox text-name",
    "SMIMEA": "usage selector matching hex",
    "SRV": "priority weight port target",
    "SSHFP": "algorithm type hex",
    "SVCB": "priority target key=value …",
    "TLSA": "usage selector matching hex",
    "URI": 'priority weight "target"',
}
_FORM_OF = {TYPES[mnemonic]: form for mnemonic, form in _FORMS.items()}
_KNOWN = frozenset(TYPES.values())


class _Tokenizer(dns.tokenizer.Tokenizer):
    """dnspython's tokenizer, but names are parsed by `names.to_wire` and must be absolute."""

    def as_name(
        self,
        token: dns.tokenizer.Token,
        origin: dns.name.Name | None = None,
        relativize: bool = False,
        relativize_to: dns.name.Name | None = None,
    ) -> dns.name.Name:
        if not token.is_identifier():
            raise ValueError("a name is expected, without quotes")
        return dns.name.from_wire(names.to_wire(token.value), 0)[0]


def read(code: int, text: str) -> bytes:
    """Reads RDATA in its type's form or as `\\# length hex`.

    Returns it uncompressed with lower-case names. Raises ValueError with the broken rule.
    """
    if text.lstrip().startswith("\\#"):
        return _generic(code, text.strip())
    if _known_by_number_only(code):
        rule = r"must be \# length hex, such as \# 4 c0000201"
        raise ValueError(f"{rule}: no other form of this type is known (RFC 3597 §5)")
    form = _FORM_OF.get(code, "the text form of this type")
    try:
        value = _single(code, text)
    except Exception as error:  # any exception of dnspython means that the text is invalid
        raise ValueError(f"must be {form}{_reason(error)}") from None
    return _octets(value)


def _single(code: int, text: str) -> dns.rdata.Rdata:
    tokens = _Tokenizer(text.strip())
    value = dns.rdata.from_text(dns.rdataclass.IN, _type(code), tokens, relativize=False)
    if value.rdcomment is not None:
        raise ValueError("a ; begins a comment: quote the string that contains it")
    if not tokens.get().is_eof():
        raise ValueError("a record must be on one line")
    return value


def _known_by_number_only(code: int) -> bool:
    """Whether dnspython has no text form of the type."""
    reader = dns.rdata.get_rdata_class(dns.rdataclass.IN, _type(code))  # type: ignore[no-untyped-call]
    return issubclass(reader, dns.rdata.GenericRdata)


def _type(code: int) -> dns.rdatatype.RdataType:
    return dns.rdatatype.RdataType.make(code)


def _generic(code: int, text: str) -> bytes:
    match = _GENERIC.fullmatch(text)
    wire = bytes.fromhex("".join(match[2].split())) if match and _even(match[2]) else None
    if match is None or wire is None or len(wire) != int(match[1]):
        raise ValueError(r"must be \#, a length and as many octets in hex (RFC 3597 §5)")
    if code not in _KNOWN:
        return wire
    try:
        value = dns.rdata.from_wire(dns.rdataclass.IN, _type(code), wire, 0, len(wire))
        faithful = value.to_wire() == wire
    except Exception as error:
        raise ValueError(f"these octets are not valid for this type{_reason(error)}") from None
    if not faithful:
        raise ValueError("a name in these octets is compressed (RFC 3597 §4)")
    return _octets(value)


def _even(digits: str) -> bool:
    return len("".join(digits.split())) % 2 == 0


def _octets(value: dns.rdata.Rdata) -> bytes:
    wire = value.to_digestable(dns.name.root)  # lower-cases names (RFC 4034 §6.2)
    if value.rdtype == TYPES["CAA"]:  # tags match in any case (RFC 8659 §4.1)
        tag = slice(2, 2 + wire[1])
        wire = wire[:2] + wire[tag].lower() + wire[tag.stop :]
    return wire


def _reason(error: Exception) -> str:
    """dnspython's message, unless it is only the default text of the exception."""
    message = str(error).strip()
    plain = isinstance(error, dns.exception.DNSException) and message == (error.msg or "")
    return "" if not message or plain else f": {message}"
