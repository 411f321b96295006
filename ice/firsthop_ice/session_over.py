"""The message by which a transceiver reports to a relay that a session is over.

A STUN Binding indication with the attribute SESSION-OVER (comprehension-optional, empty), sent to
each address of the session. ICE agents that receive it ignore it (RFC 8445 §11). Relays accept it
only from the upstream of a flow, so it has no MESSAGE-INTEGRITY: relays do not hold that key.
"""

from __future__ import annotations

from firsthop_ice.stun import StunError, StunMessageType, build, parse

SESSION_OVER = 0xC0F2
_INDICATION = StunMessageType.INDICATION.to_bytes(2, "big")


def session_over_indication(transaction_id: bytes) -> bytes:
    """The message; `transaction_id` is 12 random bytes."""
    return build(StunMessageType.INDICATION, transaction_id, [(SESSION_OVER, b"")])


def is_session_over(packet: bytes) -> bool:
    """Whether a packet is this message. Never raises."""
    if packet[:2] != _INDICATION:
        return False
    try:
        message = parse(packet)
    except StunError:
        return False
    return message.fingerprinted and message.get(SESSION_OVER) is not None
