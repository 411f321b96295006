r"""Converts domain names between text (RFC 1035 §5.1) and wire form (§3.1), any octet in any label.

Both results are lower case, as names are compared without regard to case (RFC 4343 §3). Each wire
name has one canonical text, so names in either form can be compared for equality.
"""

from __future__ import annotations

import re

ROOT = b"\0"
LONGEST_LABEL = 63
"""Octets of the longest label (RFC 1035 §2.3.4)."""
LONGEST_NAME = 255
"""Octets of the longest wire name, with its length octets and the root (RFC 1035 §2.3.4)."""
LONGEST_TEXT = 1004
"""Characters of the longest canonical text: 250 octets, each as `\\DDD`, and four dots."""

_PLAIN = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+")
_PIECE = re.compile(r"\\(\d{3})|\\([ -/:-~])|([!-\[\]-~])")
_FIRST_LABEL = re.compile(r"(?:[^.\\]|\\.)+\.")
_MARKED = frozenset(rb".\";()@$")


def _octet_text(octet: int) -> str:
    if octet in _MARKED:
        return "\\" + chr(octet)
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03}"


_TEXT = {octet: _octet_text(octet) for octet in range(256)}


def to_wire(text: str) -> bytes:
    r"""The lower-case wire form of an absolute name; the last dot may be omitted.

    Accepts the escapes `\DDD` and `\X`. Raises ValueError with the broken rule: an empty label, a
    label over 63 octets, a name over 255 octets, a bad escape, or a character that must be escaped.
    """
    if text == ".":
        return ROOT
    if text == "@":
        raise _refused("@ stands for an origin, but there is none here")
    wire = bytearray()
    for label in _labels(text):
        if not label:
            raise _refused("a label is empty")
        if len(label) > LONGEST_LABEL:
            raise _refused("a label has at most 63 octets (RFC 1035 §2.3.4)")
        wire.append(len(label))
        wire += label
    wire += ROOT
    if len(wire) > LONGEST_NAME:
        raise _refused("a name has at most 255 octets (RFC 1035 §2.3.4)")
    return bytes(wire).lower()  # length octets are at most 63, below `A`


def _refused(rule: str) -> ValueError:
    return ValueError(f"must be a domain name: {rule}")


def _labels(text: str) -> list[bytes]:
    if "\\" not in text and text.isascii() and text.isprintable() and " " not in text:
        return text.removesuffix(".").encode().split(b".")
    labels, at = [b""], 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            raise _refused(_fault(text, at))
        code, escaped, plain = match.groups()
        if code and int(code) > 255:
            raise _refused(r"an escape \DDD is at most \255 (RFC 1035 §5.1)")
        if plain == ".":
            labels.append(b"")
        else:
            labels[-1] += bytes([int(code)]) if code else (escaped or plain).encode()
        at = match.end()
    return labels if labels[-1] or len(labels) == 1 else labels[:-1]


def _fault(text: str, at: int) -> str:
    if text[at] == "\\":
        return r"an escape is \DDD or \X, where X is not a digit (RFC 1035 §5.1)"
    if text[at].isascii():
        return r"spaces and control characters are written \DDD (RFC 1035 §5.1)"
    return r"characters that are not ASCII are written \DDD, or in Punycode (RFC 3492)"


def to_text(wire: bytes) -> str:
    """The canonical text of an uncompressed wire name: lower case, absolute, escaped."""
    if wire == ROOT:
        return "."
    lower, labels, at = wire.lower(), [], 0
    while length := lower[at]:
        labels.append(lower[at + 1 : at + 1 + length].decode("latin-1").translate(_TEXT))
        at += 1 + length
    return ".".join(labels) + "."


def canonical(text: str) -> str:
    """The canonical text of a name. Raises ValueError like `to_wire`."""
    if len(text) < LONGEST_NAME and _PLAIN.fullmatch(text):
        return text
    return to_text(to_wire(text))


def parent(text: str) -> str:
    """The parent of a name: `b.example.` for `a.b.example.`. Raises ValueError for the root."""
    if text == ".":
        raise ValueError("the root has no name above it")
    if "\\" in text:
        match = _FIRST_LABEL.match(text)
        assert match is not None, "the text of a name has a dot"
        return text[match.end() :] or "."
    return text[text.index(".") + 1 :] or "."
