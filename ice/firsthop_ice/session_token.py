"""The name of a session in its URL, and the proof that an allocator asks: no store, no new secret.

A token is base64url without padding of 39 bytes: the 23 of the session's first ufrag, and the first
16 of HMAC-SHA256(region password key, "firsthop session v1" + ufrag). It leads any allocator to the
transceiver, and nobody can guess it from the ufrag, which travels in the clear.

An allocator signs what it asks of a transceiver under the same key, over method, token, new ufrag
and body; a captured request repeats itself and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from firsthop_ice.ufrag import Decoded, claims

TOKEN_LENGTH = 52
SIGNATURE_LENGTH = 43
_UFRAG_BYTES = 23
_TAG_BYTES = 16
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionName:
    """What a token says; believe it once `genuine` says so."""

    ufrag: str
    claimed: Decoded
    tag: bytes

    def genuine(self, password_key: bytes) -> bool:
        """Whether it was made with this key, the one of its region and key id."""
        return hmac.compare_digest(self.tag, _tag(self.ufrag, password_key))


def make_token(ufrag: str, password_key: bytes) -> str:
    """The 52 characters that name the session which begins with `ufrag`."""
    return urlsafe_b64encode(b64decode(ufrag + "=") + _tag(ufrag, password_key)).decode()


def read_token(token: str) -> SessionName | None:
    """What `token` says, or None where it is no token; nothing in it is proved."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    ufrag = b64encode(raw[:_UFRAG_BYTES]).decode().rstrip("=")
    claimed = claims(ufrag)
    return None if claimed is None else SessionName(ufrag, claimed, raw[_UFRAG_BYTES:])


def sign_call(password_key: bytes, method: str, token: str, ufrag: str, body: bytes) -> str:
    """43 characters that prove to a transceiver that an allocator asks this."""
    parts = [method.encode(), token.encode(), ufrag.encode(), hashlib.sha256(body).digest()]
    digest = hmac.digest(password_key, b"firsthop call v1\0" + b"\0".join(parts), "sha256")
    return urlsafe_b64encode(digest).decode().rstrip("=")


def call_is_genuine(
    signature: str, password_key: bytes, method: str, token: str, ufrag: str, body: bytes
) -> bool:
    """Whether `sign_call` made `signature` for just this; in constant time."""
    wanted = sign_call(password_key, method, token, ufrag, body)
    return hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), wanted.encode())


def _tag(ufrag: str, password_key: bytes) -> bytes:
    return hmac.digest(password_key, b"firsthop session v1" + ufrag.encode(), "sha256")[:_TAG_BYTES]
