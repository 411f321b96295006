"""Limits of one relay process: flows, packets and lifetimes."""

from __future__ import annotations

from dataclasses import dataclass

UNCONFIRMED_PACKETS = 16
"""Forwarded for an unconfirmed flow, each way. An ICE agent repeats a check every 50 ms to 0.5 s,
so this outlasts a round trip to a far transceiver; it also bounds what a spoofed source is sent."""
UNCONFIRMED_S = 4.0
"""How long a flow waits for the upstream's success response."""
FLOWS_PER_SOURCE = 4
"""Of one address and port: the one in use, those before it, and an ICE restart."""
ADDRESSES_PER_UFRAG = 8
"""A client has as many candidate pairs with one relay: families, interfaces, UDP and TCP."""
LOOKS_AN_IDLE_TIME = 4
TRANSACTIONS = 16
"""Outstanding checks of a flow whose answer would confirm it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Configurable limits of a flow table."""

    flows: int = 20_000
    """Total; each takes a socket."""
    unconfirmed: int = 5_000
    """Of the total, so that a flood of credentials leaves room for confirmed sessions."""
    flows_per_prefix: int = 2_000
    """Of one IPv4 /24 or IPv6 /56."""
    idle_s: float = 30.0
    """Without a packet from the client; consent ends after as long (RFC 7675 §5.1)."""
    lifetime_s: float = 86_400.0
    """Since it was opened, also while it is active."""

    def __post_init__(self) -> None:
        """Raise ValueError for a limit that would let nothing pass."""
        for name in ("flows", "unconfirmed", "flows_per_prefix", "idle_s", "lifetime_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")

    @property
    def look_s(self) -> float:
        """Seconds between two checks of a flow: how late an idle one may be noticed."""
        return self.idle_s / LOOKS_AN_IDLE_TIME

    def shared_by(self, workers: int) -> Limits:
        """The limits of each of so many processes: the kernel spreads clients over all."""
        return Limits(
            -(-self.flows // workers),
            -(-self.unconfirmed // workers),
            -(-self.flows_per_prefix // workers),
            self.idle_s,
            self.lifetime_s,
        )
