"""PATH-PROBE: the STUN attribute that marks a check as a probe of a path to a transceiver region.

The attribute type is 0xC0F3 (comprehension-optional, not registered, see `relay_load`); its value
is empty, and MESSAGE-INTEGRITY covers it. A transceiver answers a check whose ufrag belongs to no
session only if it has this mark: an answer to any other check would be consent (RFC 7675 §5.1) for
a session that does not exist. Relays and other STUN servers ignore the mark (RFC 8489 §14).
"""

from __future__ import annotations

from firsthop_ice.stun import USERNAME, Message, StunMessageType, build

PATH_PROBE = 0xC0F3


def path_probe_request(transaction_id: bytes, username: bytes, password: str) -> bytes:
    """A Binding request with the mark. Raises StunError if the id is not 12 bytes."""
    attributes = [(USERNAME, username), (PATH_PROBE, b"")]
    return build(StunMessageType.REQUEST, transaction_id, attributes, password=password)


def is_path_probe(message: Message) -> bool:
    """Whether a message has the mark."""
    return message.get(PATH_PROBE) is not None
