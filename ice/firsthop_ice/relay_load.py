"""RELAY-LOAD: a STUN attribute by which edges query a relay's number of sessions. Pure.

The attribute type is 0xC0F1, in the comprehension-optional range that IANA assigns after expert
review (0xC000 to 0xFFFF, RFC 8489 §18.3). It is not registered, and was unassigned in November
2026; other servers ignore it (§14). A request carries it empty, before its MESSAGE-INTEGRITY; the
success response carries it there with 8 bytes, big-endian:

    0..3    current sessions of the whole relay, at most 2^32 - 1
    4..7    flags; bit 0 (the lowest): draining. The others are sent as 0 and ignored

A relay answers it for credentials of `ufrag.LOAD_READER` only. The responses of earlier releases
lack the attribute.
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
    """A relay's own load."""

    sessions: int
    """Sessions with a confirmed flow, of all its workers; its agent reports the same number."""
    draining: bool
    """Whether it accepts no new sessions."""


@dataclass(frozen=True, slots=True)
class NoLoad:
    """Why a response contains no load.

    `not_stun` and `integrity` may come from anyone. `refused` (no success), `no_load` (an earlier
    release) and `malformed` are authentic responses of the relay.
    """

    reason: LoadFault


def load_request(transaction_id: bytes, credential: Credential) -> bytes:
    """A Binding request for the load, 96 bytes. Raises StunError if the id is not 12 bytes."""
    username = credential.ufrag.encode() + b":edge"
    attributes = [(USERNAME, username), (RELAY_LOAD, b"")]
    return build(StunMessageType.REQUEST, transaction_id, attributes, password=credential.password)


def load_attribute(load: RelayLoad) -> tuple[int, bytes]:
    """The attribute's type and value in a response."""
    sessions = min(load.sessions, _MAX_SESSIONS)
    return RELAY_LOAD, _VALUE.pack(sessions, _DRAINS if load.draining else 0)


def read_load(packet: bytes, password: str) -> RelayLoad | NoLoad:
    """The load in a response to a request with this password. Never raises.

    The caller must compare the transaction ids, as old responses are authentic too. If the value is
    longer than 8 bytes (a later release), only the first 8 are read.
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
