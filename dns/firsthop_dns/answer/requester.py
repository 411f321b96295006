"""The requester of a query: which client it asks for, and whether its address is proved."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton

from firsthop_dns.answer.client_keys import (
    TCP4,
    UDP4,
    ClientKey,
    PeerAddress,
    TransportKind,
    key_of_subnet,
)
from firsthop_dns.answer.instance import Instance
from firsthop_dns.wire.cookies import Cookies
from firsthop_dns.wire.edns import Edns, cookie_option
from firsthop_dns.wire.query import Query


def client_of(query: Query, peer: PeerAddress, instance: Instance) -> ClientKey | None:
    """The client that a resolver names; None if it names none, or its subnets are not used."""
    subnet = query.edns.subnet if query.edns else None
    # SOURCE 0 asks for no tailoring (RFC 7871 §7.1.2).
    if subnet is None or not subnet.source or not instance.takes_subnets_of(peer):
        return None
    return key_of_subnet(subnet)


def check_cookie(
    edns: Edns | None,
    peer: PeerAddress,
    transport: TransportKind,
    now: float,
    *,
    cookies: Cookies | None,
) -> tuple[bytes, bool]:
    """The cookie option to send back, if one came, and whether its server part is ours."""
    if edns is None or edns.cookie is None or cookies is None:
        return b"", False
    family = AF_INET if transport in (UDP4, TCP4) else AF_INET6
    address = inet_pton(family, peer[0].partition("%")[0])
    valid, cookie = cookies.check(edns.cookie, address, now)
    return cookie_option(cookie), valid
