"""Response-rate limiting: replies of one kind per network and second, and octets gained by them.

Queries with forged source addresses direct replies at a victim. Each /24 or /56 (the usual sizes of
an assignment) has a count per kind of reply in windows of one second. Above the limit half of the
replies are dropped; the others are sent truncated, or as BADCOOKIE, so an honest resolver retries
over TCP or with a cookie, and is then not limited. Replies of more than `MAX_GAIN` times their
query also have a budget of octets, for each network and for the whole server; beyond it they are
sent truncated, and none is dropped. Knows no messages, no cookies and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET6, inet_aton, inet_pton

from firsthop_geodata.addresses import Network

TAILORED, ANSWER, NEGATIVE, REFERRAL, ERROR, _GAIN = range(6)
"""Kinds of replies: data for a client subnet; data that is the same for all clients; NXDOMAIN or
NODATA; a referral; any other rcode. The last one counts octets, not replies: `gain_verdict`."""
PASS, SLIP, DROP = range(3)
"""Verdicts: send the reply; send its short form, truncated or BADCOOKIE; send nothing."""

MAX_PREFIXES = 12_000
"""Prefixes with their own count, per kind and window. Further ones share as many counts, by a hash
that outsiders cannot predict: so a flood of forged senders cannot hide another flood, and costs at
most 14 MB, and 3 ms at the end of a window."""

MAX_GAIN = 3
"""The limit of QUIC for addresses that are not validated (RFC 9000 §8.1): replies of up to this
many times the octets of their query need no budget of octets."""
TAILORED_A_SECOND = 2000
GAIN_A_SECOND = 48_000
"""Octets, above `MAX_GAIN` times those of the queries, in the replies to one network."""
SERVER_GAIN_A_SECOND = 1_000_000
"""The same in the replies to all networks together."""
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""Replies to loopback stay on the machine."""

_Prefix = str | bytes | int
"""For IPv4 the text before the last dot, for IPv6 seven octets, for a shared count its number."""
_Block = tuple[int, int]
"""Mask and address of a network."""
_EXEMPT = -(1 << 60)
"""A count that stays below every limit within a second."""


class RateLimit:
    """Counts the replies of one worker; a network's packets spread over all workers of an edge.

    Limits are replies per second and prefix; 0 means no limit. Those of ANSWER, NEGATIVE and
    REFERRAL are NSD's default `rrl-ratelimit`: a resolver needs such a reply once per TTL. TAILORED
    is NSD's default `rrl-whitelist-ratelimit`, since a public resolver that sends client subnets
    needs one per TTL for each of many networks. ERROR is lower: an honest resolver that gets
    REFUSED does not repeat the query. `gain` has room for 200 replies of 390 octets to queries of
    50: a network that a flood names gets three times the flood's octets at most, once the flood has
    some 500 queries a second. `server_gain` bounds what many quiet networks get together.

    Members of an exempt network are never limited. If it is narrower than a prefix, their replies
    still count towards the limit of the others in the prefix.
    """

    __slots__ = (
        "_counts",
        "_end",
        "_gain",
        "_limits",
        "_narrow",
        "_server_gain",
        "_start",
        "_wide",
    )

    def __init__(
        self,
        *,
        tailored: int = TAILORED_A_SECOND,
        answer: int = 200,
        negative: int = 200,
        referral: int = 200,
        error: int = 100,
        gain: int = GAIN_A_SECOND,
        server_gain: int = SERVER_GAIN_A_SECOND,
        exempt: Iterable[Network] = LOOPBACK,
    ) -> None:
        self._limits = (tailored, answer, negative, referral, error, gain)
        self._server_gain = server_gain
        self._gain = 0
        """Octets above `MAX_GAIN` times the queries that were sent in this window."""
        if min(*self._limits, server_gain) < 0:
            raise ValueError("a limit is a number of replies or octets, or 0 for none")
        self._counts: tuple[dict[_Prefix, int], ...] = tuple({} for _ in self._limits)
        self._start = self._end = 0.0
        self._wide: tuple[list[_Block], list[_Block]] = ([], [])
        self._narrow: dict[_Prefix, list[_Block]] = {}
        for network in exempt:
            ipv6 = network.version == 6
            block = int(network.netmask), int(network.network_address)
            if network.prefixlen <= (56 if ipv6 else 24):
                self._wide[ipv6].append(block)
            else:
                prefix = _prefix(str(network.network_address), ipv6)
                self._narrow.setdefault(prefix, []).append(block)

    def gain_verdict(self, octets: int, peer_host: str, ipv6: bool, now: float) -> int:
        """PASS or SLIP for a reply that has `octets` more than `MAX_GAIN` times its query.

        None is dropped: a client whose replies are long, but few, loses nothing.
        """
        if self._is_exempt(peer_host, ipv6):
            return PASS
        if self.verdict(_GAIN, peer_host, ipv6, now, octets) != PASS:
            return SLIP
        self._gain += octets
        return SLIP if 0 < self._server_gain < self._gain else PASS

    def verdict(self, kind: int, peer_host: str, ipv6: bool, now: float, cost: int = 1) -> int:
        """The verdict on a reply of `kind` to the address `peer_host` at `now`, in seconds.

        Every call counts, for `cost`. A clock that jumps, either way, begins a new window.
        """
        limit = self._limits[kind]
        if not limit:
            return PASS
        if not self._start <= now < self._end:
            self._begin(now)
        counts = self._counts[kind]
        # The expression for IPv4 is `_prefix` without a call: most packets pass here.
        prefix = _prefix(peer_host, ipv6) if ipv6 else peer_host.rpartition(".")[0]
        count = counts.get(prefix, 0) + cost
        if count == cost and len(counts) >= MAX_PREFIXES:
            prefix = hash(prefix) % MAX_PREFIXES
            count = counts.get(prefix, 0) + cost
        counts[prefix] = count
        if count <= limit:
            return PASS
        return self._beyond(counts, prefix, count - limit, (peer_host, ipv6))

    def _is_exempt(self, peer_host: str, ipv6: bool) -> bool:
        peer = peer_host, ipv6
        if _within(peer, self._wide[ipv6]):
            return True
        return bool(self._narrow) and _within(peer, self._narrow.get(_prefix(*peer), ()))

    def _beyond(
        self, counts: dict[_Prefix, int], prefix: _Prefix, excess: int, peer: tuple[str, bool]
    ) -> int:
        """The verdict above the limit; exempt networks still pass."""
        own = _prefix(*peer)
        # Checking once per window is enough, unless the count is shared.
        if (excess == 1 or own != prefix) and _within(peer, self._wide[peer[1]]):
            counts[prefix] = _EXEMPT if own == prefix else counts[prefix] - 1
            return PASS
        narrow = self._narrow.get(own)
        if narrow is not None and _within(peer, narrow):
            counts[prefix] -= 1
            return PASS
        return SLIP if excess % 2 else DROP

    def _begin(self, now: float) -> None:
        self._start = math.floor(now)
        self._end = self._start + 1
        self._gain = 0
        for counts in self._counts:
            counts.clear()


def _prefix(host: str, ipv6: bool) -> _Prefix:
    """The /24 or /56 of an address; of a link-local one without its zone (RFC 4007 §11)."""
    if ipv6:
        return inet_pton(AF_INET6, host.partition("%")[0])[:7]
    return host.rpartition(".")[0]


def _within(peer: tuple[str, bool], blocks: Sequence[_Block]) -> bool:
    host, ipv6 = peer
    octets = inet_pton(AF_INET6, host.partition("%")[0]) if ipv6 else inet_aton(host)
    address = int.from_bytes(octets, "big")
    for mask, network in blocks:  # noqa: SIM110  any() costs twice as much for each packet of a flood
        if address & mask == network:
            return True
    return False
