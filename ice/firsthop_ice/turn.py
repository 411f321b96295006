"""TURN (RFC 8656): time-limited credentials, and the messages of an Allocate.

Any TURN server with a shared secret accepts the credentials (draft-uberti-behave-turn-rest-00;
coturn's `use-auth-secret`). The secret is derived from the password master key of a credential key,
so it need not be stored: the control plane publishes it, and allocators derive it.

Pure; time and transaction ids are arguments.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from firsthop_ice.key_material import KeyMaterial
from firsthop_ice.stun import USERNAME, Message, StunError, build

PROBE_REALM = "probe"
"""The name in a prober's username, in place of a region; no client's username has it."""
LIFETIME = 0x000D
XOR_RELAYED_ADDRESS = 0x0016
REALM = 0x0014
NONCE = 0x0015
REQUESTED_TRANSPORT = 0x0019
_UDP = bytes((17, 0, 0, 0))  # RFC 8656 §18.7: protocol number and reserved octets
_MAX_NONCE = 763  # octets, RFC 8489 §14.10; a realm has no more (§14.9)


class TurnKind(IntEnum):
    """The message types of Allocate and Refresh (RFC 8656 §17)."""

    ALLOCATE = 0x0003
    ALLOCATED = 0x0103
    REFUSED = 0x0113
    REFRESH = 0x0004
    REFRESHED = 0x0104
    NOT_REFRESHED = 0x0114


@dataclass(frozen=True, slots=True)
class TurnCredential:
    """A client's username and password at a TURN server."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The realm and nonce with which a request must be signed (RFC 8489 §9.2.3)."""

    realm: bytes
    nonce: bytes


def turn_secret(master: bytes) -> str:
    """The shared secret of TURN servers for a password master key, as in their configuration."""
    return hmac.digest(master, b"firsthop turn v1", "sha256").hex()


def turn_credential(secret: str, *, expires_at: datetime, name: str) -> TurnCredential:
    """A credential valid until `expires_at`, to the second; `name` appears in the server's log."""
    username = f"{int(expires_at.timestamp())}:{name}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return TurnCredential(username, b64encode(digest).decode())


def probe_credential(keys: KeyMaterial, *, expires_at: datetime) -> TurnCredential:
    """A prober's credential under the signing key, valid until the end of `expires_at`'s hour.

    It stays the same for an hour, because a server that still has an allocation for the prober's
    port with another username refuses with 437.
    """
    master = next(key.password for key in keys.keys if key.id == keys.signing)
    secret = turn_secret(bytes.fromhex(master))
    begun = expires_at.replace(minute=0, second=0, microsecond=0)
    return turn_credential(secret, expires_at=begun + timedelta(hours=1), name=PROBE_REALM)


def secrets_file(keys: KeyMaterial) -> str:
    """Lines for coturn's configuration: the secrets of all keys, the signing key's first."""
    ordered = sorted(keys.keys, key=lambda key: key.id != keys.signing)
    lines = [f"static-auth-secret={turn_secret(bytes.fromhex(key.password))}" for key in ordered]
    return "\n".join(["use-auth-secret", *lines]) + "\n"


def username_expiry(username: str) -> int | None:
    """The expiry in a username made by `turn_credential`, in seconds since 1970; else None."""
    seconds, _, name = username.partition(":")
    return int(seconds) if name and seconds.isascii() and seconds.isdigit() else None


def allocate_request(
    transaction_id: bytes,
    credential: TurnCredential | None = None,
    challenge: Challenge | None = None,
) -> bytes:
    """An Allocate request for UDP (RFC 8656 §7.1); the first one is sent without a credential and
    refused with the challenge."""
    attributes = [(REQUESTED_TRANSPORT, _UDP)]
    return _request(TurnKind.ALLOCATE, transaction_id, attributes, credential, challenge)


def release_request(
    transaction_id: bytes, credential: TurnCredential, challenge: Challenge
) -> bytes:
    """A Refresh request that releases the allocation (RFC 8656 §8.1: lifetime 0)."""
    attributes = [(LIFETIME, bytes(4))]
    return _request(TurnKind.REFRESH, transaction_id, attributes, credential, challenge)


def challenge_in(message: Message) -> Challenge | None:
    """The challenge in a 401 (no credential) or 438 (stale nonce) response; None for others.

    Raises StunError if it is malformed.
    """
    error = message.error()
    if message.kind != TurnKind.REFUSED or error is None or error[0] not in (401, 438):
        return None
    realm, nonce = message.get(REALM), message.get(NONCE)
    if not realm or not nonce or len(realm) > _MAX_NONCE or len(nonce) > _MAX_NONCE:
        raise StunError("a challenge without a valid realm and nonce")
    return Challenge(realm, nonce)


def integrity_key(credential: TurnCredential, challenge: Challenge) -> bytes:
    """The key of MESSAGE-INTEGRITY with long-term credentials (RFC 8489 §9.2.2)."""
    text = b":".join((credential.username.encode(), challenge.realm, credential.password.encode()))
    return hashlib.md5(text, usedforsecurity=False).digest()


def _request(
    kind: TurnKind,
    transaction_id: bytes,
    attributes: list[tuple[int, bytes]],
    credential: TurnCredential | None,
    challenge: Challenge | None,
) -> bytes:
    if credential is None or challenge is None:
        return build(kind, transaction_id, attributes)
    signed = [
        *attributes,
        (USERNAME, credential.username.encode()),
        (REALM, challenge.realm),
        (NONCE, challenge.nonce),
    ]
    return build(kind, transaction_id, signed, password=integrity_key(credential, challenge))
