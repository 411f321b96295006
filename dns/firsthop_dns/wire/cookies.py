"""DNS cookies: proof that a client receives replies at its address (RFC 7873, RFC 9018).

Stores nothing per client. Knows no messages and no clock: time is an argument.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest

from siphash24 import siphash24

SECRET = 16
"""Octets of a server secret (RFC 9018 §4.4)."""
MAX_SECRETS = 2
"""The signing secret, and one that is being phased in or out (RFC 9018 §5)."""
OLDEST_S = 3600
"""Age in seconds above which cookies are refused (RFC 9018 §4.3)."""
FUTURE_S = 300
"""Seconds by which clocks of servers behind one address may differ (RFC 9018 §4.3)."""
RENEWED_S = 1800
"""Age in seconds above which cookies are replaced (RFC 9018 §4.3)."""

CLIENT_PART = 8
"""Octets of a cookie's client part (RFC 7873 §4.1)."""
_WHOLE = 24
_VERSION = 1
_STAMPED = struct.Struct(">8sBxxxI")
"""Client part, version, reserved zeros, time; these are hashed, followed by the address."""
_STAMP = struct.Struct(">I")
_LABEL = b"firsthop dns cookie v1"
_DAY_S = 86_400


class Cookies:
    """Signs server cookies with the first secret, accepts those of every secret."""

    __slots__ = ("_secrets", "_signing")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Raises ValueError unless there are one or two secrets of 16 octets."""
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise ValueError(f"{len(secrets)} cookie secrets, must be 1 or {MAX_SECRETS}")
        if any(len(secret) != SECRET for secret in secrets):
            raise ValueError(f"a cookie secret has {SECRET} octets")
        self._secrets = tuple(map(bytes, secrets))
        self._signing = self._secrets[0]

    def check(self, cookie: bytes, address: bytes, now: float) -> tuple[bool, bytes]:
        """Whether `cookie` was made for this client, and the cookie to send back.

        `cookie` is an option's whole content, 8 or 16 to 40 octets; `address` the client's, 4 or
        16 octets in network order; `now` in seconds since 1970. Never raises for any octets.
        """
        moment = int(now) & 0xFFFFFFFF
        if len(cookie) == _WHOLE and cookie[CLIENT_PART] == _VERSION:
            # Differences of serial numbers (RFC 1982 §3.2): time wraps in 2106.
            age = moment - _STAMP.unpack_from(cookie, 12)[0] & 0xFFFFFFFF
            if age <= OLDEST_S or age >= 0x1_0000_0000 - FUTURE_S:
                # Reserved octets are hashed as they came (RFC 9018 §4.2).
                hashed, given = cookie[:16] + address, cookie[16:]
                for secret in self._secrets:
                    if compare_digest(_hash(hashed, secret), given):
                        fresh = age <= RENEWED_S or age > OLDEST_S
                        if fresh and secret is self._signing:
                            return True, cookie
                        return True, self._signed(cookie, address, moment)
        return False, self._signed(cookie, address, moment)

    def _signed(self, cookie: bytes, address: bytes, moment: int) -> bytes:
        """The client part of `cookie` with a server part of version 1 (RFC 9018 §4)."""
        stamped = _STAMPED.pack(cookie[:CLIENT_PART], _VERSION, moment)
        return stamped + _hash(stamped + address, self._signing)


def _hash(octets: bytes, secret: bytes) -> bytes:
    """SipHash-2-4, 8 octets (RFC 9018 §4.4)."""
    value: bytes = siphash24(octets, key=secret).digest()
    return value


def derived_secrets(key: bytes, now: float) -> tuple[bytes, bytes]:
    """Today's and yesterday's secrets, derived from a key that all edges of a fleet share.

    So edges behind one anycast address agree without being configured, and no secret is used for
    much longer than a day (RFC 7873 §7.1). While a new key spreads, edges without it refuse its
    cookies: their clients are treated as new ones.
    """
    day = int(now) // _DAY_S
    today, yesterday = (
        hmac_digest(key, _LABEL + each.to_bytes(4, "big"), sha256)[:SECRET]
        for each in (day, day - 1)
    )
    return today, yesterday


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Parses secrets as operators share them: one or two lines of 32 hex digits; the first signs.

    Blank lines and text after `#` are ignored. Raises ValueError, which names the line but never a
    secret.
    """
    secrets: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        digits = line.partition("#")[0].strip()
        if not digits:
            continue
        if len(digits) != 2 * SECRET or not all(
            each in "0123456789abcdefABCDEF" for each in digits
        ):
            raise ValueError(f"line {number}: a cookie secret is {2 * SECRET} hex digits")
        secrets.append(bytes.fromhex(digits))
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"{len(secrets)} cookie secrets, must be 1 or {MAX_SECRETS}")
    return tuple(secrets)
