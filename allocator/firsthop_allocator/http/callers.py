"""Callers, and the clients for whom they ask: tokens, peers, proxies. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Protocol, cast

from firsthop_allocator.allocations.addresses import plain
from firsthop_allocator.allocations.allocation import (
    DEFAULT_TTL_S,
    AllocationRequest,
    ClientSource,
)
from firsthop_allocator.errors import Problem, RequestFault, wrong
from firsthop_allocator.http.forwarded import Malformed, client_behind
from firsthop_allocator.http.schema import AllocationBody, SessionQuery
from firsthop_allocator.settings import AllocatorSettings
from firsthop_geodata.addresses import Address

_CHALLENGE = 'Bearer realm="firsthop"'
_INVALID = f'{_CHALLENGE}, error="invalid_token"'


class Headers(Protocol):
    """Header fields by case-insensitive name, each with all its lines."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class RequestClient:
    """The client that an answer is for, and where its address came from."""

    address: Address
    source: ClientSource

    def request(
        self, asked: AllocationBody | SessionQuery, *, may_explore: bool
    ) -> AllocationRequest:
        """The allocation request for this client with the parameters in `asked`."""
        return AllocationRequest(
            address=self.address,
            source=self.source,
            service=asked.service,
            ttl=DEFAULT_TTL_S if asked.ttl is None else asked.ttl,
            transceiver_region=asked.transceiver_region,
            exclude_relays=asked.excluded,
            may_explore=may_explore,
        )


def has_token(
    headers: Headers,
    settings: AllocatorSettings,
    tokens: Mapping[str, datetime | None],
    now: datetime,
) -> bool:
    """Whether the caller has an accepted token: one of the settings, or an unexpired one of
    `tokens`.

    Raises Problem 401 if there is no token and the allocator is not public, and for a wrong token
    even on a public one: a caller that sends a token must learn that it is not accepted. Raises 400
    for two Authorization fields.
    """
    lines = headers.getall("Authorization", ())
    if not lines:
        if settings.public:
            return False
        raise needs_token()
    if len(lines) > 1:
        raise wrong(400, RequestFault("Authorization", "must not be given twice"))
    scheme, _, token = lines[0].partition(" ")
    if scheme.lower() != "bearer" or not _accepted(token.strip(" "), settings, tokens, now):
        raise _unauthorised("the token is not accepted here", _INVALID)
    return True


def needs_token() -> Problem:
    """The problem (401) for a caller without a token."""
    return _unauthorised("a bearer token with role allocator is needed", _CHALLENGE)


def subject_of(
    headers: Headers,
    peer: str,
    wanted: Address | None,
    settings: AllocatorSettings,
    *,
    trusted: bool,
) -> RequestClient:
    """The client that the answer is for. `peer` is the address of the socket's peer, "" if it has
    none.

    Raises Problem 403 if `wanted` is given without a token, 400 if a field of a trusted proxy
    cannot be parsed, and 422 if neither `wanted` nor `peer` gives an address.
    """
    if wanted is not None:
        if not trusted:
            raise wrong(403, RequestFault("client_ip", "needs a bearer token with role allocator"))
        return RequestClient(wanted, "client_ip")
    if not peer:
        raise wrong(
            422, RequestFault("client_ip", "is needed: this connection has no peer address")
        )
    found = client_behind(
        plain(ip_address(peer)),
        forwarded=headers.getall("Forwarded", ()),
        x_forwarded_for=headers.getall("X-Forwarded-For", ()),
        trusted=settings.trusted_proxies,
    )
    if isinstance(found, Malformed):
        raise wrong(400, RequestFault(found.field, found.rule))
    return RequestClient(found[0], cast(ClientSource, found[1]))


def cors_headers(origin: str | None, settings: AllocatorSettings) -> Mapping[str, str]:
    """The fields with which a browser lets a page of `origin` read the answer (Fetch §3.3)."""
    if not settings.cors_origins:
        return {}
    if "*" in settings.cors_origins:
        return {"Access-Control-Allow-Origin": "*", **_EXPOSED}
    if origin is None or origin not in settings.cors_origins:
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **_EXPOSED}


_EXPOSED = {
    "Access-Control-Expose-Headers": (
        "ETag, Firsthop-Route, Link, Location, Retry-After, X-Request-Id"
    )
}


def _unauthorised(detail: str, challenge: str) -> Problem:
    faults = (RequestFault("Authorization", detail),)
    return Problem(401, detail, faults, headers={"WWW-Authenticate": challenge})


def _accepted(
    token: str,
    settings: AllocatorSettings,
    tokens: Mapping[str, datetime | None],
    now: datetime,
) -> bool:
    """Compares with every digest, so that timing does not reveal which one matched."""
    if not token:
        return False
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    matches = [hmac.compare_digest(digest, each) for each in settings.token_digests]
    for each, expires_at in tokens.items():
        in_force = expires_at is None or now < expires_at
        matches.append(hmac.compare_digest(digest, each) and in_force)
    return any(matches)
