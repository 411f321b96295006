"""How many sessions a relay carries, asked of the relay itself: an attribute of a probe. Pure.

RELAY-LOAD is a STUN attribute of our own, 0xC0F1. The type lies in the comprehension-optional range
that IANA gives out after expert review (0xC000 to 0xFFFF, RFC 8489 §18.3), is not registered, and
was unassigned in November 2026: other servers ignore it (§14). A request carries it empty, before
its MESSAGE-INTEGRITY; the success response has it there with 8 bytes, big-endian:

    0..3    sessions of the whole relay now, at most 2^32 - 1
    4..7    flags; bit 0 (the lowest): it drains. The others are sent as 0 and ignored

A relay tells it to credentials of `ufrag.LOAD_READER` only, and one of an earlier release to
nobody: its answer lacks the attribute.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from firsthop_ice.stun import USERNAME, StunError, StunMessageType, build, parse
from firsthop_ice.ufrag import Credential

RELAY_LOAD = 0xC0F1
_VALUE = struct.Struct(">II")
_MAX_SESSIONS = 0xFFFF_FFFF
_DRAINS = 1

LoadFault = Literal["not_stun", "integrity", "refused", "no_load", "malformed"]


@dataclass(frozen=True, slots=True)
class RelayLoad:
    """What a relay says of itself."""

    sessions: int
    """Those with a confirmed flow, of all its workers: what its agent reports too."""
    draining: bool
    """Whether it takes no new ones."""


@dataclass(frozen=True, slots=True)
class NoLoad:
    """An answer that says nothing of load, and why.

    `not_stun` and `integrity` may be anybody's word. `refused` (no success), `no_load` (an earlier
    release) and `malformed` are the relay's own.
    """

    reason: LoadFault


def load_request(transaction_id: bytes, credential: Credential) -> bytes:
    """A Binding request for the load, 96 bytes; StunError for an id that has not 12 bytes."""
    username = credential.ufrag.encode() + b":edge"
    attributes = [(USERNAME, username), (RELAY_LOAD, b"")]
    return build(StunMessageType.REQUEST, transaction_id, attributes, password=credential.password)


def load_attribute(load: RelayLoad) -> tuple[int, bytes]:
    """Type and value in an answer."""
    sessions = min(load.sessions, _MAX_SESSIONS)
    return RELAY_LOAD, _VALUE.pack(sessions, _DRAINS if load.draining else 0)


def read_load(packet: bytes, password: str) -> RelayLoad | NoLoad:
    """The load in an answer to a request of this password. Raises nothing.

    The caller sees to it that the answer's transaction id is the request's: an old answer is as
    authentic. What is longer than 8 bytes is a later release's, of which the first 8 are read.
    """
    try:
        message = parse(packet)
    except StunError:
        return NoLoad("not_stun")
    if not message.authentic(password):
        return NoLoad("integrity")
    if message.kind != StunMessageType.SUCCESS:
        return NoLoad("refused")
    value = message.get(RELAY_LOAD)
    if value is None:
        return NoLoad("no_load")
    if len(value) < _VALUE.size:
        return NoLoad("malformed")
    sessions, flags = _VALUE.unpack_from(value)
    return RelayLoad(sessions, bool(flags & _DRAINS))
