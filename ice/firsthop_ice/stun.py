"""STUN Binding messages (RFC 8489): a strict reader, a writer, and a peek for the hot path.

Knows short-term credentials with HMAC-SHA1 as ICE uses them (RFC 8445 §7), IPv4 and IPv6. Knows no
sockets and keeps no state: transaction ids are arguments.
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
MAX_ATTRIBUTES = 32  # a Binding message of ICE has at most ten; more is somebody's game

USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
XOR_MAPPED_ADDRESS = 0x0020
FINGERPRINT = 0x8028

_COMPREHENSION_OPTIONAL = 0x8000  # §14: types from here on may be ignored
# What a reader of Binding messages understands: §18.3 and RFC 8445 §16.1 (PRIORITY, USE-CANDIDATE).
_UNDERSTOOD = frozenset({0x0001, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, 0x001C, 0x001E})
_UNDERSTOOD |= {XOR_MAPPED_ADDRESS, 0x0024, 0x0025}
_AFTER_INTEGRITY = frozenset({0x001C, FINGERPRINT})  # §14.5: all else behind it is ignored
_FINGERPRINT_XOR = 0x5354554E  # §14.7
_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_BINDING_REQUEST = struct.pack(">H", 0x0001)
_COOKIE = struct.pack(">I", MAGIC_COOKIE)


class StunError(ValueError):
    """Bytes that are not a well-formed STUN Binding message, or an attribute that is not one."""


class StunMessageType(IntEnum):
    """The message types of the Binding method (§5: class and method bits interleaved)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


@dataclass(frozen=True, slots=True)
class Message:
    """A well-formed Binding message; a FINGERPRINT in it was right.

    `attributes` are type and value in order, without those that stand behind MESSAGE-INTEGRITY.
    """

    kind: IntEnum
    """`StunMessageType`, or another method's where `parse` was asked to read that."""
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
        """Whether it carries a FINGERPRINT, as ICE demands (RFC 8445 §7.1)."""
        return self.get(FINGERPRINT) is not None

    @property
    def not_understood(self) -> tuple[int, ...]:
        """Types below 0x8000 that this codec does not know: such a message must not be obeyed."""
        return tuple(
            kind
            for kind, _ in self.attributes
            if kind < _COMPREHENSION_OPTIONAL and kind not in _UNDERSTOOD
        )

    def authentic(self, password: str | bytes) -> bool:
        """Whether its MESSAGE-INTEGRITY was made with `password` (§14.5), in constant time."""
        if self.integrity_at is None:
            return False
        value = self.packet[self.integrity_at + 4 : self.integrity_at + 24]
        covered = _with_length(self.packet[: self.integrity_at], self.integrity_at + 24)
        return hmac.compare_digest(value, hmac.digest(_key(password), covered, "sha1"))

    def mapped_address(self) -> tuple[IPv4Address | IPv6Address, int] | None:
        """Address and port in XOR-MAPPED-ADDRESS (§14.2), None without; StunError if malformed."""
        value = self.get(XOR_MAPPED_ADDRESS)
        return None if value is None else _read_address(value, self.transaction_id)

    def error(self) -> tuple[int, str] | None:
        """Code 300 to 699 and phrase in ERROR-CODE (§14.8), None without; StunError otherwise."""
        value = self.get(ERROR_CODE)
        if value is None:
            return None
        if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            raise StunError("malformed ERROR-CODE")
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")


def split_username(username: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the first `:` (RFC 8445 §7.2.2): receiver's ufrag, sender's."""
    receiver, _, sender = username.partition(b":")
    return receiver, sender


def peek_username(packet: bytes) -> bytes | None:
    """USERNAME of what looks like a Binding request, None for all else; no bytes make it raise.

    Checks bounds only, so what it gives may be forged or cut; `parse` is the judge.
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
    """The Binding message that `packet` is from its first byte to its last; StunError says why not.

    `kinds` are the message types that it may have. Refused: other methods, a wrong length or
    cookie (§5), attributes that do not fit or more than 32, a USERNAME that is not UTF-8,
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
    """A message with FINGERPRINT, before it MESSAGE-INTEGRITY if there is a `password`.

    Raises StunError for a transaction id that is not 12 bytes, and for a message over 65,535.
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
    """An authenticated request as an ICE agent sends it, without its roles and priorities."""
    return build(StunMessageType.REQUEST, transaction_id, [(USERNAME, username)], password=password)


def binding_success(
    transaction_id: bytes,
    source: tuple[str, int],
    password: str | bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """The answer: `source` as address text and port, then `attributes`.

    Without these, 64 bytes for IPv4, 76 for IPv6.
    """
    value = _address_value(ip_address(source[0]), source[1], transaction_id)
    attributes = [(XOR_MAPPED_ADDRESS, value), *attributes]
    return build(StunMessageType.SUCCESS, transaction_id, attributes, password=password)


def binding_error(transaction_id: bytes, code: int, phrase: str, password: str | None) -> bytes:
    """An error response (§6.3.4); `code` from 300 to 699 or StunError."""
    if not 300 <= code <= 699:
        raise StunError("an error code lies within 300 and 699")
    value = bytes((0, 0, *divmod(code, 100))) + phrase.encode()
    return build(StunMessageType.ERROR, transaction_id, [(ERROR_CODE, value)], password=password)


def _key(password: str | bytes) -> bytes:
    """§9.1.1; ICE passwords are ASCII (RFC 8839 §5.4), so OpaqueString changes nothing."""
    return password.encode() if isinstance(password, str) else password


def _attribute(attribute: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)


def _with_length(packet: bytes, end: int) -> bytes:
    """`packet` whose length field says that it ends at `end` (§14.5, §14.7)."""
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
