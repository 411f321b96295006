"""Relay addresses as ICE candidates and SDP lines (RFC 8839 §5.1), priorities by RFC 8445 §5.1.2.

Every candidate is of type host: to the client the relay's address is the media server's own. Each
has its own priority, because RFC 8445 §5.1.2.1 wants local preferences unique, and because equal
ones would have libwebrtc order the pairs by one measured round trip and so undo weights, drains
and prices. They differ in the local preference alone, so a client checks all of them at once and
keeps the first that works: it still races, and steering breaks the tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

COMPONENT = 1
"""RTP, with RTCP multiplexed into it (RFC 8834 §4.5)."""
HOST_TYPE_PREFERENCE = 126
"""RFC 8445 §5.1.2.2 recommends it for host candidates."""
HOST_TCP_TYPE_PREFERENCE = 90
"""Below every kind of UDP pair but relayed ones (RFC 6544 §4.2), the value that browsers use."""
PASSIVE_DIRECTION_PREFERENCE = 4
"""Of a host candidate with tcptype passive (RFC 6544 §4.2)."""
MAX_LOCAL_PREFERENCE = 65535
MAX_OTHER_PREFERENCE = 8191
"""The low 13 bits of a TCP candidate's local preference."""


@dataclass(frozen=True, slots=True)
class CandidateAddress:
    """One transport address that a client can send media to."""

    protocol: str
    """`udp` or `tcp`."""
    address: str
    port: int
    priority: int

    def candidate(self, foundation: int) -> str:
        """The candidate-attribute of RFC 8839 §5.1; for TCP with RFC 6544 §4.5's tcptype."""
        line = (
            f"candidate:{foundation} {COMPONENT} {self.protocol} {self.priority} "
            f"{self.address} {self.port} typ host"
        )
        return line if self.protocol == "udp" else f"{line} tcptype passive"


class Listening(Protocol):
    """Where a relay, or any server that takes a session's packets, is reached."""

    @property
    def ipv4(self) -> IPv4Address | None: ...

    @property
    def ipv6(self) -> IPv6Address | None: ...

    @property
    def udp_port(self) -> int: ...

    @property
    def tcp_port(self) -> int | None:
        """None: not by TCP."""


@dataclass(frozen=True, slots=True)
class UdpAddress:
    """One address that takes a session's packets by UDP, and nothing more of its server."""

    host: IPv4Address | IPv6Address
    udp_port: int

    @property
    def ipv4(self) -> IPv4Address | None:
        """The address, if it is of that family."""
        return self.host if isinstance(self.host, IPv4Address) else None

    @property
    def ipv6(self) -> IPv6Address | None:
        """The same."""
        return self.host if isinstance(self.host, IPv6Address) else None

    @property
    def tcp_port(self) -> None:
        """Not by TCP."""
        return


def candidate_lines(relays: Sequence[Listening]) -> tuple[str, ...]:
    """The candidates of relays in rank order, UDP before TCP, IPv6 before IPv4 within a relay.

    So the families alternate over the ranks, as RFC 8421 §4 asks of dual-stack hosts. Candidates
    with one address and protocol have one foundation (RFC 8445 §5.1.1.3).
    """
    foundations: dict[tuple[str, str], int] = {}
    lines = []
    for each in (*_udp(relays), *_tcp(relays)):
        base = each.protocol, each.address
        lines.append(each.candidate(foundations.setdefault(base, len(foundations) + 1)))
    return tuple(lines)


def priority(type_preference: int, local_preference: int) -> int:
    """The formula of RFC 8445 §5.1.2.1."""
    return (type_preference << 24) + (local_preference << 8) + (256 - COMPONENT)


def _addresses(relays: Sequence[Listening]) -> Iterator[tuple[Listening, str]]:
    for relay in relays:
        for address in (relay.ipv6, relay.ipv4):
            if address is not None:
                yield relay, str(address)


def _udp(relays: Sequence[Listening]) -> Iterator[CandidateAddress]:
    for place, (relay, address) in enumerate(_addresses(relays)):
        local = MAX_LOCAL_PREFERENCE - place
        yield CandidateAddress(
            "udp", address, relay.udp_port, priority(HOST_TYPE_PREFERENCE, local)
        )


def _tcp(relays: Sequence[Listening]) -> Iterator[CandidateAddress]:
    for place, (relay, address) in enumerate(_addresses(relays)):
        if relay.tcp_port is not None:
            local = (PASSIVE_DIRECTION_PREFERENCE << 13) + MAX_OTHER_PREFERENCE - place
            level = priority(HOST_TCP_TYPE_PREFERENCE, local)
            yield CandidateAddress("tcp", address, relay.tcp_port, level)
