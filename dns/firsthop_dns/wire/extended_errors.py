"""Extended DNS errors: the INFO-CODEs of RFC 8914 §4 that this server sends, and when."""

from __future__ import annotations

NOT_READY = 14
"""No table is loaded yet (RFC 8914 §4.15)."""
PROHIBITED = 18
"""Refused by policy, such as a zone transfer (RFC 8914 §4.19)."""
NOT_AUTHORITATIVE = 20
"""The name lies in none of our zones (RFC 8914 §4.21)."""
NOT_SUPPORTED = 21
"""An operation or class that is not implemented (RFC 8914 §4.22)."""
NO_REACHABLE_AUTHORITY = 22
"""The control plane has been silent for longer than the answers may last (RFC 8914 §4.23)."""
INVALID_QUERY_TYPE = 30
"""NXNAME, which must not be queried (RFC 9824 §3.5)."""
