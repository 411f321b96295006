"""What a relay does with one datagram: answer an authenticated probe, or say nothing and why.

A pure function: the clock, the keys and the source are arguments. It never answers anybody who
cannot mint, and never with more bytes than came in, so that nobody can use it as a reflector.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from firsthop_steering.stun import (
    StunError,
    binding_success,
    parse,
    peek_username,
    split_username,
)
from firsthop_steering.ufrag import PROBE_REGION, Rejected, RouteKeys, decode, probe_password

Source = tuple[str, int]


class Drop(StrEnum):
    """Why a datagram got no answer; each is a counter."""

    NOT_A_CHECK = "not_a_check"
    """No STUN Binding request with a USERNAME."""
    UFRAG_LENGTH = "ufrag_length"
    UFRAG_ALPHABET = "ufrag_alphabet"
    UFRAG_NOT_CANONICAL = "ufrag_not_canonical"
    UFRAG_VERSION = "ufrag_version"
    UFRAG_UNKNOWN_KEY = "ufrag_unknown_key"
    UFRAG_TAG = "ufrag_tag"
    UFRAG_EXPIRED = "ufrag_expired"
    NO_ROUTE = "no_route"
    """A valid credential for a region that this relay does not forward to."""
    MALFORMED = "malformed"
    """The ufrag is right, the message around it is not STUN (RFC 8489 §6.3)."""
    NOT_UNDERSTOOD = "not_understood"
    """It demands an attribute that the relay does not know (RFC 8489 §6.3.1)."""
    NO_FINGERPRINT = "no_fingerprint"
    """ICE checks carry one (RFC 8445 §7.1)."""
    INTEGRITY = "integrity"
    """MESSAGE-INTEGRITY is missing or was made with another password."""
    SEND = "send"
    """The answer could not be sent; set by the shell."""


def handle(packet: bytes, source: Source, keys: RouteKeys, now: datetime) -> bytes | Drop:
    """The answer to `packet` from `source` (address text, port), or why there is none.

    Raises nothing, whatever the bytes.
    """
    username = peek_username(packet)
    if username is None:
        return Drop.NOT_A_CHECK
    ufrag, _ = split_username(username)
    decoded = decode(ufrag, keys, now=now)
    if isinstance(decoded, Rejected):
        return Drop("ufrag_" + decoded.reason)
    if decoded.region != PROBE_REGION:
        return Drop.NO_ROUTE
    return _answer_probe(packet, source, probe_password(ufrag, keys.by_id[decoded.key_id]))


def _answer_probe(packet: bytes, source: Source, password: str) -> bytes | Drop:
    """A success response of 64 or 76 bytes; the shortest request that gets here has 88."""
    try:
        request = parse(packet)
    except StunError:
        return Drop.MALFORMED
    if not request.fingerprinted:
        return Drop.NO_FINGERPRINT
    if not request.authentic(password):
        return Drop.INTEGRITY
    if request.not_understood:
        return Drop.NOT_UNDERSTOOD
    return binding_success(request.transaction_id, source, password)
