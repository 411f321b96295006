"""Answers one connectivity check as an ICE-lite agent (RFC 8445 §2.5, §7.3). Pure.

Only senders that know the password of a ufrag are answered. The agent never sends checks itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from firsthop_ice.path_probe import is_path_probe
from firsthop_ice.stun import (
    Message,
    StunError,
    StunMessageType,
    binding_error,
    binding_success,
    parse,
    peek_username,
    split_username,
)

CheckSource = tuple[str, int]
PasswordOf = Callable[[bytes], str | None]
"""Returns the password of a ufrag, or None."""

USE_CANDIDATE = 0x0025
ICE_CONTROLLED = 0x8029


class CheckDrop(StrEnum):
    """Reasons for dropping a datagram; each is a counter."""

    UFRAG = "ufrag"
    """A check whose ufrag belongs to no session, and that is no probe of this region."""
    STUN = "stun"
    """STUN, but not a Binding request with a USERNAME."""
    MALFORMED = "malformed"
    NO_FINGERPRINT = "no_fingerprint"
    INTEGRITY = "integrity"
    NOT_UNDERSTOOD = "not_understood"
    SOURCE = "source"
    """Not STUN, and from an address that sent no genuine check."""
    QUEUE = "queue"
    """The queue of its session is full."""
    SEND = "send"
    """The answer could not be sent; set by the shell."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A genuine check: its answer, and whether the peer nominated this address with it."""

    ufrag: bytes
    transaction_id: bytes
    answer: bytes
    accepted: bool
    nominated: bool


def answer_check(
    packet: bytes,
    source: CheckSource,
    password_of: PasswordOf,
    probe_password_of: PasswordOf = lambda _: None,
) -> Answered | CheckDrop:
    """The answer to a check from `source`.

    `password_of` returns the password of a session's ufrag, or None. A check with another ufrag is
    answered only if it is marked as a probe and made with the password of `probe_password_of`: an
    answer grants consent (RFC 7675 §5.1), which only an existing session may have.

    Raises nothing, whatever the bytes. A peer in the controlled role gets error 487, so that it
    switches (§7.3.1.1), as a lite agent never controls.
    """
    username = peek_username(packet)
    if username is None:
        return CheckDrop.STUN
    ufrag, _ = split_username(username)
    session_password = password_of(ufrag)
    password = session_password or probe_password_of(ufrag)
    if password is None:
        return CheckDrop.UFRAG
    request = _genuine(packet, password)
    if isinstance(request, CheckDrop):
        return request
    if session_password is None and not is_path_probe(request):
        return CheckDrop.UFRAG
    if request.get(ICE_CONTROLLED) is not None:
        conflict = binding_error(request.transaction_id, 487, "Role Conflict", password)
        return Answered(ufrag, request.transaction_id, conflict, accepted=False, nominated=False)
    answer = binding_success(request.transaction_id, source, password)
    nominated = request.get(USE_CANDIDATE) is not None
    return Answered(ufrag, request.transaction_id, answer, accepted=True, nominated=nominated)


def _genuine(packet: bytes, password: str) -> Message | CheckDrop:
    try:
        request = parse(packet)
    except StunError:
        return CheckDrop.MALFORMED
    if request.kind is not StunMessageType.REQUEST:
        return CheckDrop.STUN
    if not request.fingerprinted:
        return CheckDrop.NO_FINGERPRINT
    if not request.authentic(password):
        return CheckDrop.INTEGRITY
    return CheckDrop.NOT_UNDERSTOOD if request.not_understood else request
