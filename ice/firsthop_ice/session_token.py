"""Session tokens in URLs, and signatures of allocator calls: stateless, from existing keys.

A token is base64url without padding of 39 bytes: the 23 bytes of the session's first ufrag, and the
first 16 bytes of HMAC-SHA256(region password key, "firsthop session v1" + ufrag). Any allocator can
find the transceiver from it, and it cannot be guessed from the ufrag, which is sent in the clear.

An allocator signs its calls to a transceiver with the same key, over method, token, new ufrag and
body; a captured call can be replayed but not altered.
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
    """The unverified content of a token; verify it with `genuine`."""

    ufrag: str
    claimed: Decoded
    tag: bytes

    def genuine(self, password_key: bytes) -> bool:
        """Whether it was made with this key, which must be that of its region and key id."""
        return hmac.compare_digest(self.tag, _tag(self.ufrag, password_key))


def make_token(ufrag: str, password_key: bytes) -> str:
    """The token, 52 characters, of the session whose first ufrag is `ufrag`."""
    return urlsafe_b64encode(b64decode(ufrag + "=") + _tag(ufrag, password_key)).decode()


def read_token(token: str) -> SessionName | None:
    """The content of `token`, unverified; None if it is malformed."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    ufrag = b64encode(raw[:_UFRAG_BYTES]).decode().rstrip("=")
    claimed = claims(ufrag)
    return None if claimed is None else SessionName(ufrag, claimed, raw[_UFRAG_BYTES:])


def sign_call(password_key: bytes, method: str, token: str, ufrag: str, body: bytes) -> str:
    """The signature, 43 characters, of an allocator's call to a transceiver."""
    parts = [method.encode(), token.encode(), ufrag.encode(), hashlib.sha256(body).digest()]
    digest = hmac.digest(password_key, b"firsthop call v1\0" + b"\0".join(parts), "sha256")
    return urlsafe_b64encode(digest).decode().rstrip("=")


def call_is_genuine(
    signature: str, password_key: bytes, method: str, token: str, ufrag: str, body: bytes
) -> bool:
    """Whether `signature` is that of `sign_call` for this call; compares in constant time."""
    wanted = sign_call(password_key, method, token, ufrag, body)
    return hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), wanted.encode())


def _tag(ufrag: str, password_key: bytes) -> bytes:
    return hmac.digest(password_key, b"firsthop session v1" + ufrag.encode(), "sha256")[:_TAG_BYTES]
