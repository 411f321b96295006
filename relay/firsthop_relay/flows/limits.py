"""Limits of one relay process: flows, packets and lifetimes."""

from __future__ import annotations

from dataclasses import dataclass

UNCONFIRMED_PACKETS = 16
"""Packets forwarded for an unconfirmed flow, each way. An ICE agent repeats a check every 50 to
500 ms, so 16 outlast a round trip to a far transceiver; a spoofed source is sent no more either."""
UNCONFIRMED_S = 4.0
"""Seconds for which a flow waits for the upstream's success response."""
FLOWS_PER_SOURCE = 64
"""Flows of one source address and port, which may be that of many sessions: of a client that uses
one port for all its calls, or of a carrier's NAT. Only the current one carries media."""
ADDRESSES_PER_UFRAG = 8
"""Flows of one ufrag. A client has no more candidate pairs with one relay: families, interfaces,
UDP and TCP."""
LOOKS_AN_IDLE_TIME = 4  # timer checks of a flow per `idle_s`
TRANSACTIONS = 16
"""Latest checks of a flow; the answer to any of them confirms it."""
ANSWERED_CHECKS = 128
"""Answered checks that are remembered for each ufrag, so that replays of them prove nothing: five
minutes of them at libwebrtc's interval of 2.5 s."""
ANSWERED_WITHIN_S = 0.5
"""Seconds for which a flow that was never current keeps its place from new ones of its source or
ufrag, so that a far transceiver can answer; also bounds how many flows a storm can open."""
CHECKED_WITHIN_S = 6.0
"""Seconds within which a client repeats its check (RFC 7675 §5.1: at most 5 s plus 20 %)."""
CONSENT_S = 30.0
"""Seconds after the last answered check for which a flow keeps its source's media from the flows of
other sessions (RFC 7675 §5.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Configurable limits of a flow table."""

    flows: int = 20_000
    """Flows in total; each takes a socket."""
    unconfirmed: int = 5_000
    """Unconfirmed flows among them, so that a flood of credentials leaves room for sessions."""
    flows_per_prefix: int = 2_000
    """Flows of one IPv4 /24 or IPv6 /56."""
    idle_s: float = 30.0
    """Seconds without a packet from the client after which a flow ends; ICE consent expires after
    the same time (RFC 7675 §5.1)."""
    lifetime_s: float = 86_400.0
    """Seconds after which a flow ends, even if it is active."""

    def __post_init__(self) -> None:
        """Raise ValueError for a limit that would let nothing pass."""
        for name in ("flows", "unconfirmed", "flows_per_prefix", "idle_s", "lifetime_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")

    @property
    def look_s(self) -> float:
        """Seconds between two timer checks of a flow; an idle flow is noticed at most this late."""
        return self.idle_s / LOOKS_AN_IDLE_TIME

    def shared_by(self, workers: int) -> Limits:
        """The limits of each of `workers` processes, over which the kernel spreads clients."""
        return Limits(
            -(-self.flows // workers),
            -(-self.unconfirmed // workers),
            -(-self.flows_per_prefix // workers),
            self.idle_s,
            self.lifetime_s,
        )
