"""What an edge is told when it starts."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.addresses import Listen
from firsthop_steering.snapshot import KeySet

Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
COOKIE_SECRET_OCTETS = 16
"""RFC 9018 §4.4: the key of SipHash-2-4."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The control plane's replicas, and whom to believe."""

    urls: Sequence[str]
    token: str
    trusted: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class AllocatorOptions:
    """Who may ask the allocator, and whose word on the client's address counts."""

    public: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    origins: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """For the command line of the allocator's process."""
        arguments = ["--public"] if self.public else []
        for network in self.trusted_proxies:
            arguments += ["--trusted-proxy", str(network)]
        for origin in self.origins:
            arguments += ["--origin", origin]
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsOptions:
    """What DNS workers are told beside the table."""

    nsid: str = ""
    """What the option NSID is answered with (RFC 5001); empty: nothing."""
    rate_limit: int | None = None
    """Responses per second and prefix; None: as many as the limiter's default, 0: no limit."""
    rate_limit_exempt: tuple[Network, ...] = LOOPBACK
    ecs_from: tuple[Network, ...] | None = None
    """Resolvers whose client subnet is used; None: all."""
    cookie_secrets: tuple[str, ...] = field(default=(), repr=False)
    """In hex, the first one signs; none: made from the credential keys."""

    def told(self, keys: KeySet | None, *, stale: bool) -> dict[str, Any]:
        """The JSON form; `stale` says that the control plane has long not been heard."""
        exempt, ecs_from = self.rate_limit_exempt, self.ecs_from
        return {
            "nsid": self.nsid,
            "rate_limit": self.rate_limit,
            "rate_limit_exempt": [str(each) for each in exempt],
            "ecs_from": None if ecs_from is None else [str(each) for each in ecs_from],
            "cookie_secrets": [*(self.cookie_secrets or _secrets_from(keys))],
            "stale": stale,
        }


def _secrets_from(keys: KeySet | None) -> tuple[str, ...]:
    """The same on all edges of a fleet: of the key that signs, and of the newest before it.

    So a resolver's cookie holds at every edge, and through a change of keys (RFC 9018 §5).
    """
    if keys is None:
        return ()
    newest_first = sorted(
        keys.keys, key=lambda each: (each.id == keys.signing, each.created_at), reverse=True
    )
    return tuple(
        hmac.new(bytes.fromhex(key.route), b"firsthop dns cookie v1", hashlib.sha256)
        .digest()[:COOKIE_SECRET_OCTETS]
        .hex()
        for key in newest_first[:2]
    )


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """`source` is a control plane's feed, or a YAML document for an edge on its own."""

    source: Feed | Path
    state_dir: Path
    dns: Sequence[Listen]
    dns_workers: int
    allocator: Sequence[Listen]
    metrics: Sequence[Listen]
    geoip_city: Path | None = None
    geoip_asn: Path | None = None
    allocator_options: AllocatorOptions = field(default_factory=AllocatorOptions)
    dns_options: DnsOptions = field(default_factory=DnsOptions)
    take_over: bool = False
    """Whether it takes the place of an edge that runs on the same state folder."""
