"""Settings of the allocator's HTTP API, validated on creation; limits of the API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from firsthop_allocator.errors import AllocatorError

MAX_BODY = 16 * 1024
"""Maximum octets of a request body; the longest sensible one names 64 relays in under 5 KiB."""
MAX_OFFER = 64 * 1024
"""Maximum octets of a session description; `firsthop_ice.sdp` allows as many characters."""
BODY_TIMEOUT_S = 5.0
"""Seconds for a whole body to arrive, so that slow senders do not occupy connections for long."""
LINGER_S = 1.0
"""Seconds for the rest of a refused body to arrive, so that its sender can read the answer."""
GRACE_S = 5.0
"""Seconds for requests under way to end when the process stops."""
RETRY_AFTER_S = 5
"""Retry-After of a 503, in seconds; a relay that returns is in answers by then."""

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[A-Za-z0-9.:\[\]-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorSettings:
    """Who may ask, and which proxies are trusted."""

    token_digests: frozenset[str] = frozenset()
    """SHA-256, in hex, of the bearer tokens with role allocator."""
    public: bool = False
    """Whether clients without a token may ask, each for its own address."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers whose Forwarded and X-Forwarded-For fields are used."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read the answers; `*` stands for all origins."""

    demo: bool = False
    """Whether the page at /demo is served."""
    demo_stage: Path | None = None
    """The Unix socket of the process that kills relays for that page; if None, the page cannot
    kill relays."""

    def __post_init__(self) -> None:
        """Raise AllocatorError that names the setting and the rule that it breaks."""
        for digest in self.token_digests:
            if not _DIGEST.fullmatch(digest):
                raise AllocatorError("token_digests: must be 64 lower-case hex digits each")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                rule = "must be * or scheme://host[:port], without a path"
                raise AllocatorError(f"cors_origins: {origin!r} {rule}")
