"""The credential codec: an ICE ufrag that encodes a transceiver region, and its password.

A ufrag is base64 without padding of 23 bytes, big-endian (`docs/credentials.md` has the table):

    0       format version (high 2 bits), key id (low 6 bits)
    1..2    transceiver region wire id; 0 is reserved for probes, answered by the relay itself
    3..4    transceiver wire id; 0: any of the region. In a probe 1 permits querying a relay's load
    5..7    expiry, units of 16 s since 2026-01-01T00:00Z
    8..14   56 random bits
    15..22  first 8 bytes of HMAC-SHA256(route key, "firsthop ufrag v1" + bytes 0..14)

It contains no addresses: readers look up wire ids in their own tables. Time and entropy are
arguments.
"""

from __future__ import annotations

import hmac
import json
import re
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from firsthop_ice.key_material import KeyMaterial

VERSION = 0
UFRAG_LENGTH = 31  # RFC 8839 §5.4: at most 32 when sending; some stacks keep 32-byte buffers
PASSWORD_LENGTH = 32  # RFC 8839 §5.4: 22 to 256
ENTROPY_LENGTH = 7
KEY_LENGTH = 32
PROBE_REGION = 0
LOAD_READER = 1  # in place of the transceiver in a probe's ufrag
PROBE_LIFETIME = timedelta(hours=24)  # probing continues for a day without the control plane
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRY_UNIT = timedelta(seconds=16)

_HEADER = struct.Struct(">BHHI7s")  # the 3-byte expiry is written as 4 bytes, see _pack
_SIGNED_LENGTH = 15
_TAG_LENGTH = 8
_ICE_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CANONICAL_LAST = _ICE_CHARS[::4]  # 31 characters are 186 bits; the 2 beyond 23 bytes are zero
_HEX_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)

UfragFault = Literal[
    "length", "alphabet", "not_canonical", "version", "unknown_key", "tag", "expired"
]


@dataclass(frozen=True, slots=True)
class RouteKeys:
    """Route keys (32 bytes) by key id (0..63): the only keys of a relay."""

    by_id: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for an id or a length out of range."""
        if not self.by_id:
            raise ValueError("needs at least one route key")
        for key_id, key in self.by_id.items():
            if not 0 <= key_id <= 63:
                raise ValueError(f"key id {key_id} is not within 0 to 63")
            if len(key) != KEY_LENGTH:
                raise ValueError(f"key {key_id} has {len(key)} bytes, not {KEY_LENGTH}")

    @classmethod
    def from_keyset(cls, keyset: KeyMaterial) -> RouteKeys:
        """The route keys of `keyset`. Raises ValueError for a duplicate id."""
        by_id = {key.id: bytes.fromhex(key.route) for key in keyset.keys}
        if len(by_id) != len(keyset.keys):
            raise ValueError("a key id appears twice in the key set")
        return cls(by_id)

    @classmethod
    def from_json(cls, text: str | bytes) -> RouteKeys:
        """Reads `{"route_keys": {"<id>": "<64 hex digits>"}}`. Raises ValueError with the fault."""
        try:
            members = json.loads(text)["route_keys"].items()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError('is not JSON of the form {"route_keys": {"1": "hex"}}') from None
        for key_id, key in members:
            if not re.fullmatch(r"[0-9]{1,2}", key_id, re.ASCII):
                raise ValueError("route_keys: a key id is a number from 0 to 63")
            if not isinstance(key, str) or not _HEX_KEY.fullmatch(key):
                raise ValueError(f"route_keys: key {key_id} is not 64 lower-case hex digits")
        return cls({int(key_id): bytes.fromhex(key) for key_id, key in members})

    def to_json(self) -> str:
        """The JSON text for `from_json`. Secret: write it with mode 0600."""
        return json.dumps({"route_keys": {str(i): key.hex() for i, key in self.by_id.items()}})


@dataclass(frozen=True, slots=True)
class CredentialKeys:
    """The keys of an allocator: route keys, password master keys by the same ids, signing id."""

    signing: int
    routes: RouteKeys
    masters: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def from_keyset(cls, keyset: KeyMaterial) -> CredentialKeys:
        """The keys of a snapshot. Raises ValueError for a missing signing id or a duplicate id."""
        routes = RouteKeys.from_keyset(keyset)
        if keyset.signing not in routes.by_id:
            raise ValueError(f"signing key {keyset.signing} is not in the key set")
        masters = {key.id: bytes.fromhex(key.password) for key in keyset.keys}
        return cls(keyset.signing, routes, masters)


@dataclass(frozen=True, slots=True)
class Credential:
    """A client's ufrag and password: 31 and 32 ICE characters (RFC 8839 §5.4)."""

    ufrag: str
    password: str = field(repr=False)
    key_id: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Decoded:
    """The contents of a ufrag; those that `decode` returns are verified and not expired."""

    version: int
    key_id: int
    region: int
    transceiver: int
    expires_at: datetime
    nonce: bytes


@dataclass(frozen=True, slots=True)
class RejectedUfrag:
    """Why a ufrag was rejected."""

    reason: UfragFault


@lru_cache(maxsize=1024)
def region_password_key(master: bytes, region: int) -> bytes:
    """The 32-byte password key of a region, held by its transceivers instead of the master key."""
    return hmac.digest(master, region.to_bytes(2, "big"), "sha256")


def password_for(ufrag: str | bytes, password_key: bytes) -> str:
    """The 32-character password of `ufrag` under a region's password key."""
    text = ufrag.encode("ascii") if isinstance(ufrag, str) else ufrag
    digest = hmac.digest(password_key, b"firsthop pwd v1" + text, "sha256")
    return b2a_base64(digest, newline=False)[:PASSWORD_LENGTH].decode("ascii")


def probe_password(ufrag: str | bytes, route_key: bytes) -> str:
    """The password of a probe's ufrag; derived from the route key, as relays hold no other key."""
    return password_for(ufrag, hmac.digest(route_key, b"firsthop probe v1", "sha256"))


def mint(
    keys: CredentialKeys,
    *,
    region: int,
    transceiver: int = 0,
    expires_at: datetime,
    entropy: bytes,
) -> Credential:
    """A credential for `region` (1..65535), signed with the signing key.

    `expires_at` is rounded up to 16 s. `entropy` is 7 random bytes that must never be reused.
    Raises ValueError, which names the violated rule, for an argument out of range.
    """
    ufrag, ends_at = mint_ufrag(
        keys.routes.by_id[keys.signing],
        keys.signing,
        region=region,
        transceiver=transceiver,
        expires_at=expires_at,
        entropy=entropy,
    )
    password = password_for(ufrag, region_password_key(keys.masters[keys.signing], region))
    return Credential(ufrag, password, keys.signing, ends_at)


def mint_ufrag(
    route_key: bytes,
    key_id: int,
    *,
    region: int,
    transceiver: int = 0,
    expires_at: datetime,
    entropy: bytes,
) -> tuple[str, datetime]:
    """A ufrag without its password, and its expiry; arguments and errors as for `mint`."""
    if not 1 <= region <= 0xFFFF:
        raise ValueError(f"region wire id {region} is not within 1 to 65535 (0 is for probes)")
    units = _expiry_units(expires_at)
    ufrag = _pack(route_key, key_id, (region, transceiver), units, entropy)
    return ufrag, EPOCH + units * EXPIRY_UNIT


def mint_probe_credential(keyset: KeyMaterial, *, now: datetime, entropy: bytes) -> Credential:
    """A probe's credential for the next 24 h; errors as for `mint`."""
    keys = CredentialKeys.from_keyset(keyset)
    return mint_probe(keys, expires_at=now + PROBE_LIFETIME, entropy=entropy)


def mint_probe(
    keys: CredentialKeys, *, expires_at: datetime, entropy: bytes, reads_load: bool = False
) -> Credential:
    """A credential for checks that relays answer themselves; arguments and errors as for `mint`.

    `reads_load` permits querying a relay's number of sessions; such credentials are only for edges.
    """
    route_key = keys.routes.by_id[keys.signing]
    units = _expiry_units(expires_at)
    wire_ids = PROBE_REGION, LOAD_READER if reads_load else 0
    ufrag = _pack(route_key, keys.signing, wire_ids, units, entropy)
    password = probe_password(ufrag, route_key)
    return Credential(ufrag, password, keys.signing, EPOCH + units * EXPIRY_UNIT)


def mint_path_credential(
    keyset: KeyMaterial, *, region: int, holder: str, now: datetime
) -> Credential:
    """A session credential of `region` (1..65535) for probes through a relay to that region.

    It stays the same for one `holder` within an hour, so that the holder's checks stay one flow at
    each relay; it is valid for 24 h after that hour. Errors as for `mint`.
    """
    keys = CredentialKeys.from_keyset(keyset)
    hour = now.replace(minute=0, second=0, microsecond=0)
    seed = f"firsthop path v1 {region} {int(hour.timestamp())} {holder}".encode()
    entropy = hmac.digest(keys.routes.by_id[keys.signing], seed, "sha256")[:ENTROPY_LENGTH]
    expires_at = hour + timedelta(hours=1) + PROBE_LIFETIME
    return mint(keys, region=region, expires_at=expires_at, entropy=entropy)


def decode(
    ufrag: str | bytes, route_keys: RouteKeys, *, now: datetime | None
) -> Decoded | RejectedUfrag:
    """The contents of `ufrag` if a key of `route_keys` signed it and it is valid at `now`; with
    None, its expiry is not compared.

    Accepts any string or bytes and never raises; compares the tag in constant time.
    """
    raw = _raw(ufrag)
    if isinstance(raw, RejectedUfrag):
        return raw
    route_key = route_keys.by_id.get(raw[0] & 0x3F)
    if route_key is None:
        return RejectedUfrag("unknown_key")
    if not hmac.compare_digest(raw[_SIGNED_LENGTH:], _tag(route_key, raw[:_SIGNED_LENGTH])):
        return RejectedUfrag("tag")
    decoded = _unpack(raw)
    return decoded if now is None or now < decoded.expires_at else RejectedUfrag("expired")


def claims(ufrag: str | bytes) -> Decoded | None:
    """The contents of `ufrag`, with neither tag nor expiry verified; None if it is malformed."""
    raw = _raw(ufrag)
    return None if isinstance(raw, RejectedUfrag) else _unpack(raw)


def claimed_expiry(ufrag: str | bytes) -> datetime | None:
    """The expiry in `ufrag`, unverified; None if it is malformed."""
    claimed = claims(ufrag)
    return None if claimed is None else claimed.expires_at


def _raw(ufrag: str | bytes) -> bytes | RejectedUfrag:
    """The 23 bytes of a well-formed ufrag of this version; their contents are unverified."""
    text = ufrag.encode("ascii", "replace") if isinstance(ufrag, str) else bytes(ufrag)
    if len(text) != UFRAG_LENGTH:
        return RejectedUfrag("length")
    if text.translate(None, _ICE_CHARS):
        return RejectedUfrag("alphabet")
    if text[-1] not in _CANONICAL_LAST:
        return RejectedUfrag("not_canonical")
    raw = a2b_base64(text + b"=")
    return raw if raw[0] >> 6 == VERSION else RejectedUfrag("version")


def _expiry_units(expires_at: datetime) -> int:
    if expires_at.tzinfo is None:
        raise ValueError("expires_at must have a time zone")
    units = -((EPOCH - expires_at) // EXPIRY_UNIT)  # rounded up
    if not 1 <= units < 1 << 24:
        last = EPOCH + ((1 << 24) - 1) * EXPIRY_UNIT
        raise ValueError(f"expires_at must be after {EPOCH:%Y-%m-%d}, until {last:%Y-%m-%d %H:%M}")
    return units


def _tag(route_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(route_key, b"firsthop ufrag v1" + signed, "sha256")[:_TAG_LENGTH]


def _pack(
    route_key: bytes, key_id: int, wire_ids: tuple[int, int], units: int, entropy: bytes
) -> str:
    region, transceiver = wire_ids
    if not 0 <= transceiver <= 0xFFFF:
        raise ValueError(f"transceiver wire id {transceiver} is not within 0 to 65535")
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    wide = _HEADER.pack(VERSION << 6 | key_id, region, transceiver, units, entropy)
    signed = wide[:5] + wide[6:]  # leaves out the high byte of the expiry, which is always 0
    return b2a_base64(signed + _tag(route_key, signed), newline=False)[:UFRAG_LENGTH].decode()


def _unpack(raw: bytes) -> Decoded:
    first, region, transceiver, units, nonce = _HEADER.unpack(raw[:5] + b"\0" + raw[5:15])
    expires_at = EPOCH + units * EXPIRY_UNIT
    return Decoded(first >> 6, first & 0x3F, region, transceiver, expires_at, nonce)
