"""Relay addresses as ICE candidates and SDP lines (RFC 8839 §5.1), priorities by RFC 8445 §5.1.2.

Every candidate is of type host: for the client the relay's address is that of the media server.
Each has a unique priority, because RFC 8445 §5.1.2.1 requires unique local preferences, and because
libwebrtc would order equal ones by a measured round trip and so undo weights, drains and prices.
Priorities of one transport protocol differ only in the local preference. A client checks all
candidates in parallel; among pairs that work, it prefers the order of steering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

COMPONENT = 1
"""RTP, with RTCP multiplexed into it (RFC 8834 §4.5)."""
HOST_TYPE_PREFERENCE = 126
"""Recommended for host candidates by RFC 8445 §5.1.2.2."""
HOST_TCP_TYPE_PREFERENCE = 90
"""Below all UDP candidates except relayed ones (RFC 6544 §4.2); the value of Chromium."""
PASSIVE_DIRECTION_PREFERENCE = 4
"""For a host candidate with tcptype passive (RFC 6544 §4.2)."""
MAX_LOCAL_PREFERENCE = 65535
MAX_OTHER_PREFERENCE = 8191
"""The low 13 bits of a TCP candidate's local preference."""


@dataclass(frozen=True, slots=True)
class CandidateAddress:
    """One transport address to which a client can send media."""

    protocol: str
    """`udp` or `tcp`."""
    address: str
    port: int
    priority: int

    def candidate(self, foundation: int) -> str:
        """The candidate attribute (RFC 8839 §5.1); for TCP with a tcptype (RFC 6544 §4.5)."""
        line = (
            f"candidate:{foundation} {COMPONENT} {self.protocol} {self.priority} "
            f"{self.address} {self.port} typ host"
        )
        return line if self.protocol == "udp" else f"{line} tcptype passive"


class Listening(Protocol):
    """The addresses of a relay, or of another server that receives a session's packets."""

    @property
    def ipv4(self) -> IPv4Address | None: ...

    @property
    def ipv6(self) -> IPv6Address | None: ...

    @property
    def udp_port(self) -> int: ...

    @property
    def tcp_port(self) -> int | None:
        """None if it has no TCP port."""


@dataclass(frozen=True, slots=True)
class UdpAddress:
    """One of the UDP addresses of a server that receives a session's packets."""

    host: IPv4Address | IPv6Address
    udp_port: int

    @property
    def ipv4(self) -> IPv4Address | None:
        """The address if it is IPv4, else None."""
        return self.host if isinstance(self.host, IPv4Address) else None

    @property
    def ipv6(self) -> IPv6Address | None:
        """The address if it is IPv6, else None."""
        return self.host if isinstance(self.host, IPv6Address) else None

    @property
    def tcp_port(self) -> None:
        """None: it has no TCP port."""
        return


def candidate_lines(relays: Sequence[Listening]) -> tuple[str, ...]:
    """The candidate lines of relays in rank order: UDP before TCP, and per relay IPv6 before IPv4.

    Address families thus alternate, as RFC 8421 §4 recommends for dual-stack hosts. Relays that
    follow one without IPv6 are offered by IPv4 alone, so that the ranking wins with every client.
    Candidates with the same address and protocol share a foundation (RFC 8445 §5.1.1.3).
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
    """The addresses to offer: no IPv6 behind the first relay without it.

    The priority of a pair starts from the lower priority of its two candidates (RFC 8445 §6.1.2.3),
    mostly the client's own, and clients put their IPv6 first: they would use the farther relay.
    """
    offers_ipv6 = True
    for relay in relays:
        offers_ipv6 = offers_ipv6 and relay.ipv6 is not None
        for address in (relay.ipv6 if offers_ipv6 else None, relay.ipv4):
            if address is not None:
                yield relay, str(address)


def _udp(relays: Sequence[Listening]) -> Iterator[CandidateAddress]:
    for index, (relay, address) in enumerate(_addresses(relays)):
        local = MAX_LOCAL_PREFERENCE - index
        yield CandidateAddress(
            "udp", address, relay.udp_port, priority(HOST_TYPE_PREFERENCE, local)
        )


def _tcp(relays: Sequence[Listening]) -> Iterator[CandidateAddress]:
    for index, (relay, address) in enumerate(_addresses(relays)):
        if relay.tcp_port is not None:
            local = (PASSIVE_DIRECTION_PREFERENCE << 13) + MAX_OTHER_PREFERENCE - index
            level = priority(HOST_TCP_TYPE_PREFERENCE, local)
            yield CandidateAddress("tcp", address, relay.tcp_port, level)
