"""Which addresses a prober checks. Pure.

Whoever configures relays chooses what probers connect to, and learns of each check whether it
passed. So the operator of a prober's host decides which networks it may reach from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from firsthop_healthchecks.probes import ProbeOutcome, Unable
from firsthop_steering.feed.reports import ProbeTarget
from firsthop_steering.plan.addresses import UNUSABLE

_Network = IPv4Network | IPv6Network
_METADATA = tuple(
    (ip_network(each), "serves metadata of cloud hosts")
    for each in (
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle Cloud
        "fd00:ec2::254/128",  # Amazon EC2; most others are link-local
        "fd20:ce::254/128",  # Google Compute Engine
    )
)
_LOOPBACK = tuple((ip_network(each), "is loopback") for each in ("127.0.0.0/8", "::1/128"))
DENIED: tuple[tuple[_Network, str], ...] = (*_METADATA, *_LOOPBACK, *UNUSABLE)
"""Networks that are not checked, and why; a network in `allowed` that lies in one lifts it."""


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """The networks that a prober may reach."""

    allowed: tuple[_Network, ...] = ()
    """If there are any, no other address is checked."""
    denied: tuple[_Network, ...] = ()
    """Never checked, even if allowed."""

    def refusal(self, target: ProbeTarget) -> str | None:
        """Why `target` is not checked; None if it is."""
        address = target.address
        if any(address in each for each in self.denied):
            return f"{address} is in --deny-targets"
        allowing = [each for each in self.allowed if address in each]
        if self.allowed and not allowing:
            return f"{address} is not in --allow-targets"
        why = _denial(address, allowing)
        if why is not None:
            return f"{address} {why}; only --allow-targets permits it"
        if target.kind in ("http", "https") and not allowing and not address.is_global:
            return f"{target.kind} checks of {address}, which is private, need --allow-targets"
        return None


def _denial(address: IPv4Address | IPv6Address, allowing: Sequence[_Network]) -> str | None:
    for network, why in DENIED:
        if address in network and not any(_lies_in(each, network) for each in allowing):
            return why
    return None


def _lies_in(inner: _Network, outer: _Network) -> bool:
    first, last = inner.network_address, inner.broadcast_address
    return first in outer and last in outer


class RefusedCheck:
    """A `ProbeCheck` of a target that this prober does not check."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Unable: there is no result, as with any fault of this host."""
        return Unable(self._reason)

    async def close(self) -> None:
        """Nothing is shared."""
