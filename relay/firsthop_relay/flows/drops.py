"""Reasons for dropping a packet; each is a counter."""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """In the order in which they are checked."""

    NOT_A_CHECK = "not_a_check"
    """From an address without a flow, and no STUN Binding request with a USERNAME."""
    UFRAG_LENGTH = "ufrag_length"
    UFRAG_ALPHABET = "ufrag_alphabet"
    UFRAG_NOT_CANONICAL = "ufrag_not_canonical"
    UFRAG_VERSION = "ufrag_version"
    UFRAG_UNKNOWN_KEY = "ufrag_unknown_key"
    UFRAG_TAG = "ufrag_tag"
    UFRAG_EXPIRED = "ufrag_expired"
    MALFORMED = "malformed"
    """The ufrag is right, the message around it is not STUN (RFC 8489 §6.3)."""
    NO_FINGERPRINT = "no_fingerprint"
    """ICE checks carry one (RFC 8445 §7.1)."""
    INTEGRITY = "integrity"
    """MESSAGE-INTEGRITY is missing or, in a probe, was made with another password."""
    NOT_UNDERSTOOD = "not_understood"
    """A probe demands an attribute that the relay does not know (RFC 8489 §6.3.1)."""
    NO_ROUTE = "no_route"
    """A valid credential for a region or transceiver that is not in the route table."""
    DRAINING = "draining"
    """It would open a flow of a new session, and the relay takes none."""
    SOURCE_FULL = "source_full"
    UFRAG_FULL = "ufrag_full"
    PREFIX_FULL = "prefix_full"
    UNCONFIRMED_FULL = "unconfirmed_full"
    FULL = "full"
    NO_SOCKET = "no_socket"
    """File descriptors or ports are used up; set by the shell."""
    UNCONFIRMED = "unconfirmed"
    """More than an unconfirmed flow passes: what is not STUN, or too many packets."""
    UPSTREAM = "upstream"
    """Sending it to the upstream failed; set by the shell."""
    SEND = "send"
    """Sending it to the client failed; set by the shell."""
