"""Settings of an edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.addresses import Listen
from firsthop_dns.answer.rate_limit import LOOPBACK, TAILORED_A_SECOND
from firsthop_dns.wire.cookies import derived_secrets
from firsthop_dns.wire.edns import PAYLOAD
from firsthop_geodata.addresses import Network
from firsthop_steering.feed.snapshot import KeySet


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """The control plane's replicas, and the key that signs their snapshots."""

    urls: Sequence[str]
    token: str
    trusted: Ed25519PublicKey
    any_age: bool = False
    """Whether the first snapshots of the feed may be of any age."""


@dataclass(frozen=True, slots=True)
class AllocatorOptions:
    """The clients that the allocator serves, and the proxies whose client addresses it trusts."""

    public: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    origins: tuple[str, ...] = ()
    demo: bool = False
    demo_stage: Path | None = None

    def arguments(self) -> list[str]:
        """The options as arguments of the allocator's process."""
        arguments = ["--public"] if self.public else []
        arguments += ["--demo"] if self.demo else []
        arguments += ["--demo-stage", str(self.demo_stage)] if self.demo_stage else []
        for network in self.trusted_proxies:
            arguments += ["--trusted-proxy", str(network)]
        for origin in self.origins:
            arguments += ["--origin", origin]
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsOptions:
    """Options of DNS workers that are not in the table."""

    nsid: str = ""
    """NSID string, returned to clients that request it (RFC 5001); empty: none."""
    rate_limit: int = TAILORED_A_SECOND
    """Tailored answers per second and prefix; other replies, and octets, in proportion. 0: no
    limit."""
    rate_limit_exempt: tuple[Network, ...] = LOOPBACK
    max_udp: int = PAYLOAD
    """Octets of a UDP reply at most, 512 to 1232."""
    ecs_from: tuple[Network, ...] | None = None
    """Resolvers whose client subnet (ECS) is used; None: all."""
    cookie_secrets: tuple[str, ...] = field(default=(), repr=False)
    """In hex; the first one signs. Empty: derived from the credential key that signs."""

    def message(
        self, keys: KeySet | None, *, stale: bool, workers: int, now: datetime
    ) -> dict[str, Any]:
        """The JSON form for one of `workers`, over which the kernel spreads all queries.

        `stale`: the control plane has not been connected for a while.
        """
        exempt, ecs_from = self.rate_limit_exempt, self.ecs_from
        return {
            "nsid": self.nsid,
            "rate_limit": -(-self.rate_limit // workers),
            "rate_limit_exempt": [str(each) for each in exempt],
            "max_udp": self.max_udp,
            "ecs_from": None if ecs_from is None else [str(each) for each in ecs_from],
            "cookie_secrets": [*(self.cookie_secrets or _secrets_from(keys, now))],
            "stale": stale,
        }


def _secrets_from(keys: KeySet | None, now: datetime) -> tuple[str, ...]:
    """Equal on all edges of a fleet, so that each accepts a resolver's cookie from any other."""
    signing = [each for each in keys.keys if each.id == keys.signing] if keys else []
    return tuple(
        secret.hex()
        for key in signing
        for secret in derived_secrets(bytes.fromhex(key.route), now.timestamp())
    )


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """`source` is a control plane's feed, or a YAML document if the edge has no control plane."""

    source: FeedSettings | Path
    state_dir: Path
    dns: Sequence[Listen]
    dns_workers: int
    allocator: Sequence[Listen]
    metrics: Sequence[Listen]
    geoip_city: Path | None = None
    geoip_asn: Path | None = None
    allocator_options: AllocatorOptions = field(default_factory=AllocatorOptions)
    dns_options: DnsOptions = field(default_factory=DnsOptions)
    region: str | None = None
    """The vantage of this edge: its verdicts take precedence if a service's view is local."""
    allow_loopback: bool = False
    """Whether the document may have loopback addresses; a control plane decides for its edges."""
    take_over: bool = False
    """Whether it takes over from an edge that runs with the same state folder."""
