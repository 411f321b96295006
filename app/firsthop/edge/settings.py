"""What an edge is told when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.addresses import Listen


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
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    origins: tuple[str, ...] = ()


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
