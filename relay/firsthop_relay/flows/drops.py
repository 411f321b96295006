"""Reasons for dropping a packet; each has a counter."""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """Why a packet was dropped, in the order of the checks."""

    NOT_A_CHECK = "not_a_check"
    """Its source has no flow, and it is not a STUN Binding request with a USERNAME."""
    UFRAG_LENGTH = "ufrag_length"
    UFRAG_ALPHABET = "ufrag_alphabet"
    UFRAG_NOT_CANONICAL = "ufrag_not_canonical"
    UFRAG_VERSION = "ufrag_version"
    UFRAG_UNKNOWN_KEY = "ufrag_unknown_key"
    UFRAG_TAG = "ufrag_tag"
    UFRAG_EXPIRED = "ufrag_expired"
    MALFORMED = "malformed"
    """The ufrag is valid, but the message around it is malformed (RFC 8489 §6.3)."""
    NO_FINGERPRINT = "no_fingerprint"
    """The FINGERPRINT is missing, which ICE checks must have (RFC 8445 §7.1)."""
    INTEGRITY = "integrity"
    """The MESSAGE-INTEGRITY is missing or, in a probe, was made with another password."""
    NOT_UNDERSTOOD = "not_understood"
    """A probe requires an attribute that the relay does not know (RFC 8489 §6.3.1)."""
    NO_ROUTE = "no_route"
    """The credential is valid, but its region or transceiver is not in the route table."""
    DRAINING = "draining"
    """The packet would open a flow of a new session, but the relay is draining."""
    SOURCE_FULL = "source_full"
    UFRAG_FULL = "ufrag_full"
    PREFIX_FULL = "prefix_full"
    UNCONFIRMED_FULL = "unconfirmed_full"
    FULL = "full"
    NO_SOCKET = "no_socket"
    """File descriptors or ports are used up; set by the server."""
    UNCONFIRMED = "unconfirmed"
    """The flow is unconfirmed, and the packet is not STUN or exceeds the flow's packet limit."""
    UPSTREAM = "upstream"
    """Sending the packet to the upstream failed; set by the server."""
    SEND = "send"
    """Sending the packet to the client failed; set by the server."""
