"""State of a worker process that outlives tables: counters, rate limits, cookies, options.

The options come from the edge's supervisor as JSON; see `firsthop.edge.settings.DnsOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from firsthop_dns.answer.client_keys import PeerAddress
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.rate_limit import (
    GAIN_A_SECOND,
    LOOPBACK,
    SERVER_GAIN_A_SECOND,
    TAILORED_A_SECOND,
    RateLimit,
)
from firsthop_dns.wire.cookies import Cookies
from firsthop_dns.wire.edns import PAYLOAD, extended_error
from firsthop_dns.wire.extended_errors import NO_REACHABLE_AUTHORITY
from firsthop_steering.feed.demand import AnswerSurvey

TCP_IDLE_S = 10.0
"""Seconds without a whole query after which a TCP connection is closed (RFC 7766 §6.2.3)."""
MAX_NSID = 58
"""Octets of `nsid` at most: with these, the refusal of the shortest question that requests NSID is
three times as long as the question: no error needs a budget of octets (`rate_limit.MAX_GAIN`)."""
_Network = IPv4Network | IPv6Network


class Instance:
    """The state of one process; `update` applies changed options."""

    __slots__ = (
        "cookies",
        "counters",
        "ecs_from",
        "limits",
        "max_udp",
        "notice",
        "nsid",
        "survey",
        "tcp_idle_s",
    )

    def __init__(self, counters: DnsCounters) -> None:
        self.counters = counters
        self.survey = AnswerSurvey()
        """A sample of the clients, by the counter slot of the region in their answer."""
        self.limits = RateLimit()
        self.max_udp = PAYLOAD
        """Octets of a UDP reply at most, 512 to PAYLOAD; a longer one is sent as TC."""
        self.cookies: Cookies | None = None
        """None: no secret, so cookies are ignored."""
        self.nsid = b""
        """The content of NSID (RFC 5001), at most MAX_NSID octets; if empty, NSID is not sent."""
        self.ecs_from: tuple[_Network, ...] | None = None
        """Resolvers whose client subnet is used; None: all."""
        self.tcp_idle_s = TCP_IDLE_S
        self.notice = b""
        """The EDNS option that marks steered answers as stale; empty while they are not."""

    @classmethod
    def of(cls, counters: DnsCounters, options: Mapping[str, Any]) -> Instance:
        """An instance with these options; see `update`."""
        made = cls(counters)
        made.update(options)
        return made

    def update(self, options: Mapping[str, Any]) -> None:
        """Applies the given options and keeps the others; tables must be rebuilt afterwards."""
        if "nsid" in options:
            self.nsid = options["nsid"].encode()
        if "rate_limit" in options or "rate_limit_exempt" in options:
            self.limits = _limits(options.get("rate_limit"), options.get("rate_limit_exempt"))
        if "max_udp" in options:
            self.max_udp = options["max_udp"]
        if "ecs_from" in options:
            networks = options["ecs_from"]
            self.ecs_from = None if networks is None else tuple(map(ip_network, networks))
        if "cookie_secrets" in options:
            secrets = [bytes.fromhex(each) for each in options["cookie_secrets"]]
            self.cookies = Cookies(secrets) if secrets else None
        if "stale" in options:
            stale = options["stale"]
            self.notice = extended_error(NO_REACHABLE_AUTHORITY) if stale else b""

    def takes_subnets_of(self, peer: PeerAddress) -> bool:
        """Whether client subnets from this resolver are used."""
        if self.ecs_from is None:
            return True
        address = ip_address(peer[0].partition("%")[0])
        return any(address in network for network in self.ecs_from)


def _limits(tailored: int | None, exempt: Sequence[str] | None) -> RateLimit:
    """Limits: `tailored` answers per second, all else in proportion; 0: no limit."""
    networks = LOOPBACK if exempt is None else tuple(map(ip_network, exempt))
    if tailored is None:
        return RateLimit(exempt=networks)
    rarer, errors = (max(1, tailored // part) if tailored else 0 for part in (10, 20))
    return RateLimit(
        tailored=tailored,
        answer=rarer,
        negative=rarer,
        referral=rarer,
        error=errors,
        gain=tailored * GAIN_A_SECOND // TAILORED_A_SECOND,
        server_gain=tailored * SERVER_GAIN_A_SECOND // TAILORED_A_SECOND,
        exempt=networks,
    )
