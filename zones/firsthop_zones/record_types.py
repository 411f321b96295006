"""Record types by mnemonic and number, and the types that zones must not contain."""

from __future__ import annotations

import re
from functools import lru_cache

import dns.rdatatype

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, DNAME, DS = 1, 2, 5, 6, 12, 15, 16, 28, 39, 43
SVCB, HTTPS = 64, 65

_SIGNING = {
    "SIG": 24,
    "NXT": 30,
    "RRSIG": 46,
    "NSEC": 47,
    "DNSKEY": 48,
    "NSEC3": 50,
    "NSEC3PARAM": 51,
    "CDS": 59,
    "CDNSKEY": 60,
}
_META = {
    "OPT": 41,
    "NXNAME": 128,
    "TKEY": 249,
    "TSIG": 250,
    "IXFR": 251,
    "AXFR": 252,
    "MAILB": 253,
    "MAILA": 254,
    "ANY": 255,
}
_REFUSED = {
    SOA: "its values are fields of the zone",
    10: "NULL is not allowed in zones (RFC 1035 §3.3.10)",
    63: "ZONEMD is only valid for one serial, which is the plan's number here",
    **dict.fromkeys(_SIGNING.values(), "belongs to a signed zone, but zones here are not signed"),
    **dict.fromkeys((0, 41, *range(128, 256)), "is only for queries and messages (RFC 6895 §3.1)"),
}
TYPES = {
    dns.rdatatype.to_text(each): int(each)
    for each in dns.rdatatype.RdataType
    if each not in _REFUSED
}
"""Mnemonics allowed for records: all that dnspython knows. Other types are written like `TYPE65280`
(RFC 3597 §5)."""
_MNEMONICS = {code: mnemonic for mnemonic, code in TYPES.items()}
_CODES = {**TYPES, **_SIGNING, **_META, "SOA": SOA, "NULL": 10, "ZONEMD": 63}
_GENERIC = re.compile(r"TYPE([0-9]{1,5})")
PATTERN = rf"^({'|'.join(TYPES)}|TYPE[0-9]{{1,5}})$"
"""Syntax of a record's type; some of the numbers that match are refused nevertheless."""


@lru_cache(maxsize=256)  # called three times per record
def type_code(name: str) -> int:
    """The number of a type, given by mnemonic or as `TYPE65280`, case-insensitive.

    Raises ValueError with the reason if records must not have the type.
    """
    upper = name.upper() if name.isascii() else name
    code = _CODES.get(upper)
    if code is None:
        match = _GENERIC.fullmatch(upper)
        if match is None or int(match[1]) > 65535:
            raise ValueError(
                f"{name[:20]} is not a known type: write TYPE and its number, and the data as"
                r" \# length hex (RFC 3597 §5)"
            )
        code = int(match[1])
    if code in _REFUSED:
        raise ValueError(f"{name}: no record may have this type: it {_REFUSED[code]}")
    return code


def type_name(code: int) -> str:
    """The mnemonic of a type if it has one in `TYPES`, otherwise a text like `TYPE65280`."""
    return _MNEMONICS.get(code) or f"TYPE{code}"


def canonical_type(name: str) -> str:
    """The canonical text of a type: `TYPE1` → `A`. Raises ValueError like `type_code`."""
    return type_name(type_code(name))
