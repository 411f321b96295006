"""Which endpoints of a region a client gets: in proportion to weight, failure domains apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from firsthop_steering.decision.rendezvous import BUCKETS, rendezvous_draws
from firsthop_steering.decision.topology import Endpoint

Named = tuple[tuple[Endpoint, ...], tuple[IPv4Address, ...], tuple[IPv6Address, ...]]
"""The endpoints that an answer names, and their addresses by family."""


def choose_endpoints(
    endpoints: Iterable[Endpoint], drawn: int, answers: int
) -> tuple[Endpoint, ...]:
    """Up to `answers` endpoints for a bucket, in proportion to their weights.

    All of them, in order of their ids, when they fit: then every client gets the same answer, and
    resolvers may share it widely. Otherwise the winners of the bucket's race, different failure
    domains first.
    """
    field = tuple(endpoints)
    if len(field) <= answers:
        return field
    ordered = sorted(
        field, key=lambda each: (rendezvous_draws(each.id, each.weight)[drawn], each.id)
    )
    return domains_apart(ordered)[:answers]


def domains_apart(ordered: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The same endpoints, the first of every failure domain before the second of any."""
    seen: dict[str, int] = {}
    rounds = []
    for each in ordered:
        seen[each.domain] = seen.get(each.domain, -1) + 1
        rounds.append(seen[each.domain])
    return tuple(
        each for _, each in sorted(zip(rounds, ordered, strict=True), key=lambda pair: pair[0])
    )


def addresses(endpoints: Sequence[Endpoint], drawn: int, answers: int) -> Named:
    """The endpoints that a DNS answer names, and their addresses, chosen apart per family."""
    four = choose_endpoints((each for each in endpoints if each.ipv4), drawn, answers)
    six = choose_endpoints((each for each in endpoints if each.ipv6), drawn, answers)
    named = tuple(dict.fromkeys((*four, *six)))
    return (
        named,
        tuple(each.ipv4 for each in four if each.ipv4),
        tuple(each.ipv6 for each in six if each.ipv6),
    )


@lru_cache(maxsize=1024)
def addresses_by_bucket(
    endpoints: tuple[Endpoint, ...], answers: int
) -> tuple[tuple[Named, ...], tuple[int, ...]]:
    """`addresses` for all buckets: the distinct ones, and which one each bucket has."""
    fits = max(
        sum(each.ipv4 is not None for each in endpoints),
        sum(each.ipv6 is not None for each in endpoints),
    )
    if fits <= answers:
        return (addresses(endpoints, 0, answers),), (0,) * BUCKETS
    distinct: dict[Named, int] = {}
    which = [
        distinct.setdefault(addresses(endpoints, drawn, answers), len(distinct))
        for drawn in range(BUCKETS)
    ]
    return tuple(distinct), tuple(which)
