"""Flow counts per source prefix; enforces the table's limits."""

from __future__ import annotations

from ipaddress import ip_address

from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.limits import Limits

Prefix = bytes
"""The first 3 bytes of an IPv4 address, the first 7 of an IPv6 address."""


def prefix_of(host: str) -> Prefix:
    """The /24 or /56 that contains an address (as text); an IPv6 zone is ignored."""
    packed = ip_address(host).packed
    return packed[:3] if len(packed) == 4 else packed[:7]


class FlowCounts:
    """Counts without empty entries, so junk traffic takes no memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.total = 0
        self.unconfirmed = 0
        self._by_prefix: dict[Prefix, int] = {}

    def refusal(self, prefix: Prefix) -> Drop | None:
        """The limit that one more flow would exceed."""
        if self._by_prefix.get(prefix, 0) >= self._limits.flows_per_prefix:
            return Drop.PREFIX_FULL
        if self.unconfirmed >= self._limits.unconfirmed:
            return Drop.UNCONFIRMED_FULL
        if self.total >= self._limits.flows:
            return Drop.FULL
        return None

    def opened(self, prefix: Prefix) -> None:
        """Count a new flow, which is not confirmed yet."""
        self.total += 1
        self.unconfirmed += 1
        self._by_prefix[prefix] = self._by_prefix.get(prefix, 0) + 1

    def confirmed(self) -> None:
        """Count an unconfirmed flow as confirmed."""
        self.unconfirmed -= 1

    def closed(self, prefix: Prefix, *, confirmed: bool) -> None:
        """Remove a closed flow from the counts."""
        self.total -= 1
        self.unconfirmed -= not confirmed
        left = self._by_prefix[prefix] - 1
        if left:
            self._by_prefix[prefix] = left
        else:
            del self._by_prefix[prefix]
