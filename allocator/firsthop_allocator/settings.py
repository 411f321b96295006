"""Settings of the allocator's HTTP API, validated at the start; its limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from firsthop_allocator.errors import AllocatorError

MAX_BODY = 16 * 1024
"""Octets of a request body; the longest sensible one names 64 relays, under 5 KiB."""
MAX_OFFER = 64 * 1024
"""Octets of a session description; `firsthop_ice.sdp` allows as many characters."""
BODY_TIMEOUT_S = 5.0
"""For a whole body to arrive, so that slow senders hold nothing for long."""
KEEPALIVE_S = 30.0
"""For a whole request head to arrive on a connection, and between requests."""
LINGER_S = 1.0
"""For the rest of a refused body to arrive, so that its sender reads the answer before the end."""
GRACE_S = 5.0
"""For requests under way to end when the process stops."""
RETRY_AFTER_S = 5
"""Retry-After of a 503: within that time a relay that returns is answered with again."""

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[A-Za-z0-9.:\[\]-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorSettings:
    """Who may ask, and which proxies are trusted."""

    token_digests: frozenset[str] = frozenset()
    """SHA-256, in hex, of the bearer tokens with role allocator."""
    public: bool = False
    """Whether clients may ask for themselves without a token."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers whose Forwarded and X-Forwarded-For fields are used."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read the answers; `*` is all."""

    demo: bool = False
    """Whether the page at /demo is served."""
    demo_stage: Path | None = None
    """The Unix socket of the process that kills relays for that page; None: no such route."""

    def __post_init__(self) -> None:
        """Raise AllocatorError naming the setting and the rule it breaks."""
        for digest in self.token_digests:
            if not _DIGEST.fullmatch(digest):
                raise AllocatorError("token_digests: must be 64 lower-case hex digits each")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                rule = "must be * or scheme://host[:port], without a path"
                raise AllocatorError(f"cors_origins: {origin!r} {rule}")
