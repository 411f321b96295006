"""STUN Binding messages (RFC 8489): a strict parser, a builder, and a fast peek at the username.

Supports short-term credentials with HMAC-SHA1 as ICE uses them (RFC 8445 §7), IPv4 and IPv6. Keeps
no state: transaction ids are arguments. Section numbers without an RFC refer to RFC 8489.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

MAGIC_COOKIE = 0x2112A442  # §5
HEADER_LENGTH = 20
TRANSACTION_ID_LENGTH = 12
MAX_ATTRIBUTES = 32  # a Binding message of ICE has at most ten

USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
XOR_MAPPED_ADDRESS = 0x0020
FINGERPRINT = 0x8028

_COMPREHENSION_OPTIONAL = 0x8000  # §14: types from here on may be ignored
# Comprehension-required types known here: §18.3 and RFC 8445 §16.1 (PRIORITY, USE-CANDIDATE).
_UNDERSTOOD = frozenset({0x0001, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, 0x001C, 0x001E})
_UNDERSTOOD |= {XOR_MAPPED_ADDRESS, 0x0024, 0x0025}
_AFTER_INTEGRITY = frozenset({0x001C, FINGERPRINT})  # §14.5: other types after it are ignored
_FINGERPRINT_XOR = 0x5354554E  # §14.7
_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_BINDING_REQUEST = struct.pack(">H", 0x0001)
_COOKIE = struct.pack(">I", MAGIC_COOKIE)


class StunError(ValueError):
    """A malformed STUN message or attribute."""


class StunMessageType(IntEnum):
    """The message types of the Binding method (§5: class and method bits interleaved)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


@dataclass(frozen=True, slots=True)
class Message:
    """A well-formed message; its FINGERPRINT, if any, was correct.

    `attributes` are (type, value) in order, without those after MESSAGE-INTEGRITY.
    """

    kind: IntEnum
    """A member of the `kinds` given to `parse`, by default of `StunMessageType`."""
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...]
    packet: bytes
    integrity_at: int | None
    """Offset of the MESSAGE-INTEGRITY attribute in `packet`."""

    def get(self, attribute: int) -> bytes | None:
        """The value of the first attribute of this type (§14: later ones are duplicates)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)

    @property
    def fingerprinted(self) -> bool:
        """Whether it has a FINGERPRINT, as ICE requires (RFC 8445 §7.1)."""
        return self.get(FINGERPRINT) is not None

    @property
    def not_understood(self) -> tuple[int, ...]:
        """Unknown comprehension-required types (below 0x8000): reject a message with any (§14)."""
        return tuple(
            kind
            for kind, _ in self.attributes
            if kind < _COMPREHENSION_OPTIONAL and kind not in _UNDERSTOOD
        )

    def authentic(self, password: str | bytes) -> bool:
        """Whether its MESSAGE-INTEGRITY matches `password` (§14.5); compares in constant time."""
        if self.integrity_at is None:
            return False
        value = self.packet[self.integrity_at + 4 : self.integrity_at + 24]
        covered = _with_length(self.packet[: self.integrity_at], self.integrity_at + 24)
        return hmac.compare_digest(value, hmac.digest(_key(password), covered, "sha1"))

    def mapped_address(self) -> tuple[IPv4Address | IPv6Address, int] | None:
        """Address and port in XOR-MAPPED-ADDRESS (§14.2), or None. Raises StunError."""
        value = self.get(XOR_MAPPED_ADDRESS)
        return None if value is None else _read_address(value, self.transaction_id)

    def error(self) -> tuple[int, str] | None:
        """Code (300 to 699) and phrase in ERROR-CODE (§14.8), or None. Raises StunError."""
        value = self.get(ERROR_CODE)
        if value is None:
            return None
        if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            raise StunError("malformed ERROR-CODE")
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")


def split_username(username: bytes) -> tuple[bytes, bytes]:
    """Splits at the first `:` (RFC 8445 §7.2.2): the receiver's ufrag and the sender's."""
    receiver, _, sender = username.partition(b":")
    return receiver, sender


def peek_username(packet: bytes) -> bytes | None:
    """The USERNAME in what looks like a Binding request, else None. Never raises.

    Checks bounds only, so the message may be forged or truncated; verify it with `parse`.
    """
    if len(packet) < HEADER_LENGTH or packet[:2] != _BINDING_REQUEST or packet[4:8] != _COOKIE:
        return None
    at, end = HEADER_LENGTH, len(packet)
    for _ in range(MAX_ATTRIBUTES):
        if at + 4 > end:
            return None
        kind, size = packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3]
        if kind == USERNAME:
            return packet[at + 4 : at + 4 + size] if at + 4 + size <= end else None
        if kind == MESSAGE_INTEGRITY:  # §14.5: what follows is not covered
            return None
        at += 4 + (size + 3 & ~3)
    return None


def parse(packet: bytes, *, kinds: type[IntEnum] = StunMessageType) -> Message:
    """Parses a packet that is exactly one message. Raises StunError with the reason.

    `kinds` are the accepted message types. Refused are other types, a wrong length or cookie (§5),
    attributes that do not fit, more than 32 attributes, a USERNAME that is not UTF-8, a
    MESSAGE-INTEGRITY of another size, and a FINGERPRINT that is wrong or not last (§14.7).
    """
    kind, transaction_id = _read_header(packet, kinds)
    attributes: list[tuple[int, bytes]] = []
    integrity_at, at, count = None, HEADER_LENGTH, 0
    while at < len(packet):
        attribute, value = _read_attribute(packet, at)
        count += 1
        if count > MAX_ATTRIBUTES:
            raise StunError(f"more than {MAX_ATTRIBUTES} attributes")
        if integrity_at is None or attribute in _AFTER_INTEGRITY:
            attributes.append((attribute, value))
        if attribute == MESSAGE_INTEGRITY and integrity_at is None:
            integrity_at = at
        at += 4 + (len(value) + 3 & ~3)
    return Message(kind, transaction_id, tuple(attributes), packet, integrity_at)


def _read_header(packet: bytes, kinds: type[IntEnum]) -> tuple[IntEnum, bytes]:
    if len(packet) < HEADER_LENGTH:
        raise StunError("shorter than a header")
    message_type, length, cookie, transaction_id = _HEADER.unpack_from(packet)
    if cookie != MAGIC_COOKIE:
        raise StunError("wrong magic cookie")
    if length % 4 or length != len(packet) - HEADER_LENGTH:
        raise StunError("wrong length")
    try:
        return kinds(message_type), transaction_id
    except ValueError:
        method = "Binding" if kinds is StunMessageType else "TURN"
        raise StunError(f"not a {method} message") from None


def _read_attribute(packet: bytes, at: int) -> tuple[int, bytes]:
    attribute, size = _ATTRIBUTE.unpack_from(packet, at)
    value = packet[at + 4 : at + 4 + size]
    if len(value) != size:
        raise StunError("an attribute does not fit")
    if attribute == MESSAGE_INTEGRITY and size != 20:
        raise StunError("malformed MESSAGE-INTEGRITY")
    if attribute == FINGERPRINT:
        if at + 8 != len(packet) or size != 4:
            raise StunError("FINGERPRINT is not the last attribute")
        if value != _fingerprint(packet[:at]):
            raise StunError("wrong FINGERPRINT")
    if attribute == USERNAME:
        _utf8(value)
    return attribute, value


def _utf8(value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError:
        raise StunError("USERNAME is not UTF-8") from None


def build(
    kind: IntEnum,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    password: str | bytes | None = None,
) -> bytes:
    """Builds a message with a FINGERPRINT, preceded by a MESSAGE-INTEGRITY if `password` is given.

    Raises StunError for a transaction id that is not 12 bytes, or a message over 65,535 bytes.
    """
    if len(transaction_id) != TRANSACTION_ID_LENGTH:
        raise StunError("a transaction id has 12 bytes")
    body = b"".join(_attribute(attribute, value) for attribute, value in attributes)
    if len(body) > 0xFFFF - 32:
        raise StunError("longer than a STUN message can be")
    packet = _HEADER.pack(kind, len(body), MAGIC_COOKIE, transaction_id) + body
    if password is not None:
        packet = _with_length(packet, len(packet) + 24)
        digest = hmac.digest(_key(password), packet, "sha1")
        packet += _attribute(MESSAGE_INTEGRITY, digest)
    packet = _with_length(packet, len(packet) + 8)
    return packet + _attribute(FINGERPRINT, _crc(packet))


def binding_request(transaction_id: bytes, username: bytes, password: str) -> bytes:
    """An authenticated request like that of an ICE agent, but without role and priority."""
    return build(StunMessageType.REQUEST, transaction_id, [(USERNAME, username)], password=password)


def binding_success(
    transaction_id: bytes,
    source: tuple[str, int],
    password: str | bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """A success response: `source` (address text, port) as mapped address, then `attributes`.

    Without `attributes` it has 64 bytes for IPv4 and 76 for IPv6.
    """
    value = _address_value(ip_address(source[0]), source[1], transaction_id)
    attributes = [(XOR_MAPPED_ADDRESS, value), *attributes]
    return build(StunMessageType.SUCCESS, transaction_id, attributes, password=password)


def binding_error(transaction_id: bytes, code: int, phrase: str, password: str | None) -> bytes:
    """An error response (§6.3.4). Raises StunError for a `code` outside 300 to 699."""
    if not 300 <= code <= 699:
        raise StunError("an error code must be from 300 to 699")
    value = bytes((0, 0, *divmod(code, 100))) + phrase.encode()
    return build(StunMessageType.ERROR, transaction_id, [(ERROR_CODE, value)], password=password)


def _key(password: str | bytes) -> bytes:
    """The HMAC key (§9.1.1). ICE passwords are ASCII (RFC 8839 §5.4): OpaqueString is a no-op."""
    return password.encode() if isinstance(password, str) else password


def _attribute(attribute: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)


def _with_length(packet: bytes, end: int) -> bytes:
    """`packet` with the length field set as if it ended at `end` (§14.5, §14.7)."""
    return packet[:2] + (end - HEADER_LENGTH).to_bytes(2, "big") + packet[4:]


def _crc(covered: bytes) -> bytes:
    return (zlib.crc32(covered) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def _fingerprint(before: bytes) -> bytes:
    return _crc(_with_length(before, len(before) + 8))


def _xor_mask(transaction_id: bytes, size: int) -> int:
    return int.from_bytes((_COOKIE + transaction_id)[:size], "big")


def _address_value(address: IPv4Address | IPv6Address, port: int, transaction_id: bytes) -> bytes:
    size = len(address.packed)
    host = int.from_bytes(address.packed, "big") ^ _xor_mask(transaction_id, size)
    family = 1 if size == 4 else 2
    return struct.pack(">BBH", 0, family, port ^ MAGIC_COOKIE >> 16) + host.to_bytes(size, "big")


def _read_address(value: bytes, transaction_id: bytes) -> tuple[IPv4Address | IPv6Address, int]:
    if (len(value), value[1:2]) not in ((8, b"\1"), (20, b"\2")):
        raise StunError("malformed XOR-MAPPED-ADDRESS")
    port = int.from_bytes(value[2:4], "big") ^ MAGIC_COOKIE >> 16
    host = int.from_bytes(value[4:], "big") ^ _xor_mask(transaction_id, len(value) - 4)
    return (IPv4Address(host) if len(value) == 8 else IPv6Address(host)), port
